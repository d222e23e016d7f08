package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"

	"tandem/store/files"
)

// writeGuarded writes a small file of JSON: the content under its name, and the
// content's CRC-32C.
func writeGuarded(path, name string, content any) error {
	sum, err := crcOf(content)
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(map[string]any{name: content, "crc": sum}, "", "  ")
	if err != nil {
		return err
	}
	return files.Write(path, append(b, '\n'))
}

// readGuarded reads what writeGuarded wrote, and refuses a member that it does not know.
func readGuarded(path, name string, content any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var said string
	members, into := map[string]json.RawMessage{}, map[string]any{name: content, "crc": &said}
	err = json.Unmarshal(b, &members)
	for member, text := range members {
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if e := d.Decode(into[member]); err == nil {
			err = e
		}
	}
	if err != nil {
		return files.Damage("%s is unreadable; bring it back, or empty the directory and join the node anew: %w", path, err)
	}
	if sum, err := crcOf(content); err != nil || sum != said {
		return files.Damage("the checksum of %s does not match; bring it back, or empty the directory and join the node anew", path)
	}
	return nil
}

func crcOf(content any) (string, error) {
	b, err := json.Marshal(content)
	return fmt.Sprintf("%08x", crc32.Checksum(b, files.Castagnoli)), err
}
