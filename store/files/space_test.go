package files

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"
)

func TestFree(t *testing.T) {
	if n, err := Free(t.TempDir()); n == 0 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if _, err := Free("nowhere/at/all"); err == nil {
		t.Error("a directory that is not there has a disk")
	}
}

func TestLacksSpace(t *testing.T) {
	cases := []struct {
		err  error
		want bool
	}{
		{&fs.PathError{Op: "write", Err: syscall.ENOSPC}, true},
		{fmt.Errorf("x: %w", &fs.PathError{Op: "write", Err: syscall.EDQUOT}), true},
		{&fs.PathError{Op: "sync", Err: syscall.ENOSPC}, false},
		{&fs.PathError{Op: "write", Err: syscall.EIO}, false},
		{syscall.ENOSPC, false}, // bare, as fdatasync gives it
		{errors.New("x"), false},
		{nil, false},
	}
	for _, c := range cases {
		if got := LacksSpace(c.err); got != c.want {
			t.Errorf("lacksSpace(%v) is %v", c.err, got)
		}
	}
}
