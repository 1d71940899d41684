package pgx

import (
	"database/sql/driver"
	"errors"
	"slices"
	"strings"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/jackc/pgx/v5/pgconn"
)

// asPg returns the server's own error in err.
func asPg(err error) *pgconn.PgError {
	var pg *pgconn.PgError
	errors.As(err, &pg)
	return pg
}

// transient reports an error that left nothing behind and may not come again. An error that ends the connection is not
// transient: a server that is being stopped may have committed before it said so. Neither is lock_not_available (55P03): a
// program has asked for it, by NOWAIT or lock_timeout, and wants it at once.
func transient(err error) bool {
	pg := asPg(err)
	if pg == nil {
		return false
	}
	switch pg.Code {
	case "40001", "40P01": // serialization_failure, deadlock_detected
		return !endsConnection(pg) // not by Severity alone, which is translated
	case "57P03": // cannot_connect_now
		return true
	}
	return false
}

// noRoom reports that the server has refused a connection, but may serve those that are open. Its limit, the database's or the
// role's is reached; or the role may not open another one (a pooler and pg_hba.conf refuse in that way, too); or the server
// lets what is open come to its end, before it stops or while it is a standby that recovers.
func noRoom(err error) bool {
	pg := asPg(err)
	if pg == nil {
		return false
	}
	switch pg.Code {
	case "53300", "28000", "57P03": // too_many_connections, invalid_authorization_specification, cannot_connect_now
		return true
	}
	return false
}

// environment reports an error of the server, or of the way to it, that does not depend on the statement. A cancelled
// statement (57014) is not one of these: it may have been too slow, and would be again.
func environment(err error) bool {
	pg := asPg(err)
	if pg == nil {
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

// ofTheMoment reports that a statement of ours may succeed when it is sent again: the server has not refused it for what it is.
// It was cancelled, by the program's statement_timeout say, or the server had no room. Or the connection is lost.
func ofTheMoment(err error) bool {
	pg := asPg(err)
	return pg == nil || len(pg.Code) == 5 && slices.Contains([]string{"08", "40", "53", "55", "57", "58"}, pg.Code[:2])
}

// deterministic reports an error that the same statement with the same arguments meets again: the error is of its data, of a
// constraint, or raised by the program's own code in the server. All others are of the moment or of the environment.
func deterministic(err error) bool {
	pg := asPg(err)
	if pg == nil || len(pg.Code) != 5 || endsConnection(pg) {
		return false
	}
	switch pg.Code[:2] {
	case "22", "23", "P0":
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

// class is how an error is counted.
func class(err error) engine.ErrorClass {
	var code string
	if recorded, ok := errors.AsType[*engine.RejectedError](err); ok {
		code = recorded.Code
	} else if pg := asPg(err); pg != nil {
		code = pg.Code
	}
	switch code {
	case "40001", "40P01", "55P03", "55006": // serialization_failure, deadlock_detected, lock_not_available, object_in_use
		return engine.ErrorBusy
	case "57014": // query_canceled
		return engine.ErrorCanceled
	case "53300": // too_many_connections
		return engine.ErrorConnection
	case "53100", "XX001", "XX002": // disk_full, data_corrupted, index_corrupted
		return engine.ErrorStorage
	}
	switch {
	case strings.HasPrefix(code, "23"):
		return engine.ErrorConstraint
	case strings.HasPrefix(code, "08"), strings.HasPrefix(code, "57P"), strings.HasPrefix(code, "28"):
		return engine.ErrorConnection // connection_exception, the operator's, invalid_authorization
	case strings.HasPrefix(code, "58"): // system_error
		return engine.ErrorStorage
	case errors.As(err, new(*pgconn.ConnectError)), code == "" && pgconn.SafeToRetry(err):
		return engine.ErrorConnection
	}
	return engine.ErrorOther
}

// endsConnection reports an error after which the server closes the connection.
func endsConnection(err error) bool {
	pg := asPg(err)
	return pg == nil || pg.SeverityUnlocalized != "ERROR" && pg.Severity != "ERROR"
}

// lastWords reports an error with which the server's process ends. The process has not finished its statement, and does
// nothing more.
func lastWords(err error) bool { return asPg(err) != nil && endsConnection(err) }

var errLostResult = errors.New("groupcommit/pgx: the call was committed, but its result was lost with the connection")

// lostResult is the result of a call that was committed for certain.
type lostResult struct{}

func (lostResult) LastInsertId() (int64, error) { return 0, errNoInsertID }
func (lostResult) RowsAffected() (int64, error) { return 0, errLostResult }

// lostRows is the error of a call that was committed for certain, if it wants its rows.
func lostRows(c *engine.Call) error {
	if c.WantsRows() {
		return errLostResult
	}
	return nil
}

// result is the driver's result for a command tag.
type result = driver.RowsAffected

// errNoInsertID is the plain driver's own error.
var errNoInsertID = func() error {
	_, err := driver.RowsAffected(0).LastInsertId()
	return err
}()
