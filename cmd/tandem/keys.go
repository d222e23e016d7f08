package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) keysCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "keys",
		Short: "make the keys that sign callback URIs",
		Long: `Every node of every region reads the same handle keys file. Its first key signs
new callback URIs, all of its keys verify old ones. To change the key without
losing a live call:

  1. append the new key to the file of every node and reload (SIGHUP);
  2. move it to the first line everywhere and reload;
  3. when the last call from before has ended, remove the old line and reload.`,
	}
	var file string
	fresh := &cobra.Command{
		Use:     "new",
		Short:   "print a new key line, or write a new file with --out",
		Example: "  tandem keys new --out /etc/tandem/handle-keys",
		RunE: func(*cobra.Command, []string) error {
			line := newHandleKey()
			if file == "" {
				_, err := fmt.Fprint(a.out, line)
				return err
			}
			if err := writeNew(file, []byte(line)); err != nil {
				return fmt.Errorf("making the handle keys file: %w", err)
			}
			return nil
		},
	}
	fresh.Flags().StringVarP(&file, "out", "o", "", "the file to make; it must not exist")
	c.AddCommand(fresh)
	return c
}

// newHandleKey makes one line of a handle keys file: an id, and 32 random bytes.
func newHandleKey() string {
	var secret [36]byte
	rand.Read(secret[:]) // never fails: crypto/rand ends the process instead
	return hex.EncodeToString(secret[:4]) + ":" + base64.StdEncoding.EncodeToString(secret[4:]) + "\n"
}
