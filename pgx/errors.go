package pgx

import (
	"database/sql/driver"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// transient reports an error that left nothing behind and may not come again. An error that ends the connection is not
// one: a server that is being stopped may have committed before it said so.
func transient(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return false
	}
	switch pg.Code {
	case "40001", "40P01", "55P03": // serialization_failure, deadlock_detected, lock_not_available
		return !endsConnection(pg) // not by Severity alone, which is translated
	case "57P03": // cannot_connect_now
		return true
	}
	return false
}

// environment reports an error that is of the server or of the way to it, whatever the statement. A statement that was
// cancelled (57014) may have been too slow, and is so again.
func environment(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return errors.As(err, new(*pgconn.ConnectError)) || pgconn.SafeToRetry(err)
	}
	switch {
	case strings.HasPrefix(pg.Code, "08"), strings.HasPrefix(pg.Code, "53"), strings.HasPrefix(pg.Code, "57P"), strings.HasPrefix(pg.Code, "58"):
		return true // connection_exception, insufficient_resources, the operator's, system_error
	case pg.Code == "25006", pg.Code == "XX001", pg.Code == "XX002": // read_only_sql_transaction, data_corrupted, index_corrupted
		return true
	}
	return false
}

// final is deterministic, with the error's code.
func final(err error) (code string, ok bool) {
	if !deterministic(err) {
		return "", false
	}
	return asPg(err).Code, true
}

// endsConnection reports an error after which the server closes the connection.
func endsConnection(err error) bool {
	var pg *pgconn.PgError
	return !errors.As(err, &pg) || pg.SeverityUnlocalized != "ERROR" && pg.Severity != "ERROR"
}

// ended reports an error that the server's process sent last: it had not done what it was at, and does nothing more.
func ended(err error) bool { return asPg(err) != nil && endsConnection(err) }

var errLostResult = errors.New("groupcommit/pgx: the call was committed, but its result was lost with the connection")

// lostResult is the result of a call that was committed for certain.
type lostResult struct{}

func (lostResult) LastInsertId() (int64, error) { return 0, errNoInsertID }
func (lostResult) RowsAffected() (int64, error) { return 0, errLostResult }

// result is what the driver makes of a command tag.
type result int64

func (result) LastInsertId() (int64, error)   { return 0, errNoInsertID }
func (r result) RowsAffected() (int64, error) { return int64(r), nil }

// errNoInsertID is the plain driver's own error.
var errNoInsertID = func() error {
	_, err := driver.RowsAffected(0).LastInsertId()
	return err
}()
