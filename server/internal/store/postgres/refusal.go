package postgres

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"assent/fault"
)

// Refusal says what keeps the database server from its work, if that is what err is about; else it is nil.
// open says that a commit that ended with err may have been made: the connection broke and the answer is
// missing.
func Refusal(err error) (f *fault.Error, open bool) {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		f = said(e)
		return f, f != nil && e.SeverityUnlocalized != "ERROR" // FATAL and PANIC end the connection at any moment
	}
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) || broken(err) {
		return unavailable(), !pgconn.SafeToRetry(err)
	}
	return nil, false
}

// said explains an error that the database server sent.
func said(e *pgconn.PgError) *fault.Error {
	class := e.Code[:min(2, len(e.Code))]
	switch {
	case e.Code == "53100": // disk_full
		return fault.New(fault.Unavailable, "storage_full", "The disk of the PostgreSQL server is full; free space on it and try again.")
	case e.Code == "25006": // read_only_sql_transaction: a standby, or default_transaction_read_only
		return fault.New(fault.Unavailable, "storage_read_only", "The PostgreSQL server takes no writes; point Assent to the primary, or make this one writable, and try again.")
	case class == "58", e.Code == "XX001", e.Code == "XX002": // system_error and io_error; data_corrupted, index_corrupted
		return fault.New(fault.Unavailable, "storage_failed", "The PostgreSQL server reports a broken disk, which its log names; repair it and try again.")
	case class == "53", class == "08", strings.HasPrefix(e.Code, "57P"), e.Code == "55P03": // resources, connection, shutdown, lock_not_available
		return unavailable()
	}
	return nil
}

func unavailable() *fault.Error {
	return fault.New(fault.Unavailable, "storage_unavailable", "The PostgreSQL server does not answer; try again.")
}

// Stale reports whether err, of a transaction's very beginning, only says that the pool's connection is from
// before a restart of the database server or was cut: with another connection it may go well.
func Stale(err error) bool {
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) {
		return false
	}
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return strings.HasPrefix(e.Code, "57P") && e.SeverityUnlocalized == "FATAL"
	}
	return broken(err)
}

// broken reports whether err is about the connection.
func broken(err error) bool {
	var network net.Error
	var number syscall.Errno
	lost := []error{io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, driver.ErrBadConn, sql.ErrConnDone, net.ErrClosed}
	return errors.As(err, &network) || errors.As(err, &number) || pgconn.SafeToRetry(err) ||
		slices.ContainsFunc(lost, func(l error) bool { return errors.Is(err, l) })
}
