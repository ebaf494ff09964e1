package sqlite

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"

	driver "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"assent/fault"
)

// Refusal says what is wrong with the disk that the database at path lies on, if that is what err is about;
// else it is nil. open says that a commit that ended with err may be found in the database later: SQLite had
// written all of it when waiting for the disk failed.
func Refusal(path string, err error) (f *fault.Error, open bool) {
	var e *driver.Error
	if !errors.As(err, &e) {
		return named(err), false
	}
	switch e.Code() & 0xff { // the rest says where it happened
	case lib.SQLITE_FULL:
		return full(), false
	case lib.SQLITE_READONLY:
		return readOnly(), false
	case lib.SQLITE_IOERR, lib.SQLITE_CANTOPEN:
		write := e.Code() == lib.SQLITE_IOERR_WRITE // before the last of it was written
		return whatFails(filepath.Dir(path)), !write
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED:
		return fault.New(fault.Unavailable, "storage_unavailable", "Another program holds the server's database; try again."), false
	}
	return nil, false
}

func full() *fault.Error {
	return fault.New(fault.Unavailable, "storage_full", "The disk with the server's database is full; free space on it and try again.")
}

func readOnly() *fault.Error {
	return fault.New(fault.Unavailable, "storage_read_only", "The disk with the server's database can only be read; make it writable and try again.")
}

// whatFails finds out by trying what SQLite does not tell.
func whatFails(dir string) *fault.Error {
	err := probe(dir)
	if f := named(err); f != nil {
		return f.Because(err)
	}
	return fault.New(fault.Unavailable, "storage_failed", "The disk with the server's database reports errors, which the server's log names; repair it and try again.").Because(err)
}

// named is the refusal for an error of the operating system that has a name.
func named(err error) *fault.Error {
	switch {
	case errors.Is(err, syscall.EROFS):
		return readOnly()
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return full()
	case errors.Is(err, os.ErrPermission):
		return fault.New(fault.Unavailable, "storage_failed", "The server may not write to the directory of its database; give the directory to the server's user and try again.")
	}
	return nil
}

// probe writes as much as SQLite needs to open a database, and waits for the disk.
func probe(dir string) error {
	f, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 64<<10))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close(), os.Remove(f.Name()))
}
