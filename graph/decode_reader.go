package graph

import (
	"bytes"
	"errors"
	"io"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// reader walks one body token by token. Walking it, rather than filling
// structs, sees every member's name, skips what routing does not need without
// copying it, and keeps an update at a handful of allocations.
type reader struct {
	dec  jsontext.Decoder
	src  bytes.Buffer
	word []byte // scratch of the last name or text
	path []byte // scratch of facts: dotted path of the member being read
}

var readers = sync.Pool{New: func() any { return &reader{} }}

func newReader(body []byte) *reader {
	r := readers.Get().(*reader)
	// jsontext parses straight from a bytes.Buffer and does not write to it.
	r.src = *bytes.NewBuffer(body)
	r.dec.Reset(&r.src, jsontext.AllowDuplicateNames(false), jsontext.AllowInvalidUTF8(false))
	return r
}

// release forgets the body, so that an idle reader keeps nobody's data alive.
func (r *reader) release() {
	r.src = bytes.Buffer{}
	r.dec.Reset(&r.src)
	if cap(r.word) > 4<<10 || cap(r.path) > 4<<10 {
		r.word, r.path = nil, nil // one odd body must not cost memory for ever
	}
	readers.Put(r)
}

// wrong turns a parser's error into ours. The parser's own text can hold bytes
// of the body, so it is dropped; errors of ours pass.
func wrong(err error) error {
	if err == nil || errors.Is(err, ErrMalformed) || errors.Is(err, ErrTooMany) {
		return err
	}
	return malformed("it is no strict JSON")
}

// object reads an object and calls member with each name; member must read the
// value. The name is valid until the next read.
func (r *reader) object(member func(name []byte) error) error {
	if _, err := r.dec.ReadToken(); err != nil {
		return wrong(err)
	}
	for r.dec.PeekKind() != '}' {
		name, err := r.text()
		if err != nil {
			return err
		}
		if err := member(name); err != nil {
			return err
		}
	}
	_, err := r.dec.ReadToken()
	return wrong(err)
}

// array reads an array and calls element before each element, which it must
// read.
func (r *reader) array(element func() error) error {
	if _, err := r.dec.ReadToken(); err != nil {
		return wrong(err)
	}
	for r.dec.PeekKind() != ']' {
		if err := element(); err != nil {
			return err
		}
	}
	_, err := r.dec.ReadToken()
	return wrong(err)
}

// text reads a string into the reader's scratch; it is valid until the next
// read. Names are strings as well.
func (r *reader) text() ([]byte, error) {
	v, err := r.dec.ReadValue()
	if err != nil {
		return nil, wrong(err)
	}
	if v.Kind() != '"' {
		return nil, malformed("a member that is a text has another type")
	}
	if bytes.IndexByte(v, '\\') < 0 {
		r.word = append(r.word[:0], v[1:len(v)-1]...)
		return r.word, nil
	}
	r.word, err = jsontext.AppendUnquote(r.word[:0], v)
	return r.word, wrong(err)
}

// optional reads a text that may be null or absent; null gives nothing.
func (r *reader) optional() ([]byte, error) {
	if r.dec.PeekKind() == 'n' {
		return nil, r.skip()
	}
	return r.text()
}

func (r *reader) skip() error {
	return wrong(r.dec.SkipValue())
}

// other skips an unknown member, unless its name is one of ours in another
// letter case: many a bot's parser takes Value for value, and would see another
// call than we do.
func (r *reader) other(name []byte, ours []string) error {
	if isVariant(name, ours) {
		return malformed(variantName)
	}
	return r.skip()
}

const variantName = "a member's name differs from a known one in letter case only"

func isVariant(name []byte, ours []string) bool {
	for _, o := range ours {
		if string(name) != o && bytes.EqualFold(name, []byte(o)) {
			return true
		}
	}
	return false
}

// end makes sure that nothing follows the document.
func (r *reader) end() error {
	if _, err := r.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return malformed("something follows the document")
	}
	return nil
}
