package groupcommit

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/turn"
)

// The ledger is the table of promises, as far as calls with an id are concerned. A session of an engine claims the ids of
// its calls, executes those that are new, and records their outcomes, all in one transaction. So there is never a row
// without an outcome, and never an outcome without its effect; and a call that comes again is answered from the ledger.
//
// What a call comes to in the ledger is a durable.Promise: its create key is the call's fingerprint, its value the result or
// the error in JSON.

// ErrMismatch is the error of a call whose id belongs to another statement, or to the same one with other arguments. The
// call was not executed.
var ErrMismatch = errors.New("the id belongs to another statement or command, or to other arguments")

// RejectedError is a recorded error, for a call that comes again after the first one had been answered with the driver's
// own. Of that there is left what the database said.
type RejectedError struct {
	ID      string        // the promise's
	State   durable.State // REJECTED; of a command also REJECTED_CANCELED or REJECTED_TIMEDOUT
	Code    string        // the database's own: a SQLSTATE, SQLite's extended code as a number; "" if there was none
	Message string        // at most 1 KiB
}

func (e *RejectedError) Error() string {
	if e.State != durable.Rejected {
		return fmt.Sprintf("groupcommit: promise %q is %v", e.ID, e.State)
	}
	return fmt.Sprintf("groupcommit: promise %q was rejected: %s", e.ID, e.Message)
}

// Is makes a promise that was taken back match context.Canceled, and one whose time was over context.DeadlineExceeded.
func (e *RejectedError) Is(target error) bool {
	return e.State == durable.RejectedCanceled && target == context.Canceled ||
		e.State == durable.RejectedTimedout && target == context.DeadlineExceeded
}

// maxMessage bounds what is recorded of an error's text.
const maxMessage = 1 << 10

// recorded is the value of a promise of an Exec. A pointer is nil where the driver gave no number.
type recorded struct {
	Rows    *int64 `json:"rows,omitempty"`
	ID      *int64 `json:"id,omitempty"`
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
}

// ID is the call's id; "" if it has none, as most calls. A call with an id is claimed and recorded by the session that
// runs it.
func (c *Call) ID() string { return c.id }

// Fingerprint is what a call with an id is known by: a digest of its text and arguments. It is the promise's create key.
func (c *Call) Fingerprint() durable.Key { return c.print }

// Replay is the outcome of a call whose id is in the ledger: what is recorded there, or [ErrMismatch].
func (c *Call) Replay(p durable.Promise) (driver.Result, error) {
	if p.CreateKey != c.print {
		return nil, fmt.Errorf("groupcommit: id %q: %w", c.id, ErrMismatch)
	}
	var v recorded
	if p.State == durable.RejectedCanceled || p.State == durable.RejectedTimedout {
		return nil, &RejectedError{ID: c.id, State: p.State}
	}
	if err := json.Unmarshal(p.Value.Data, &v); err != nil || !p.State.Done() {
		return nil, fmt.Errorf("groupcommit: id %q: the ledger has a promise that is %s with the value %q; a completed one with a result or an error is needed", c.id, p.State, p.Value.Data)
	}
	if p.State != durable.Resolved {
		return nil, &RejectedError{ID: c.id, State: p.State, Code: v.Code, Message: v.Message}
	}
	res := result{replayed: true, rowsErr: errNoRows, idErr: errNoInsertID}
	if v.Rows != nil {
		res.rows, res.rowsErr = *v.Rows, nil
	}
	if v.ID != nil {
		res.id, res.idErr = *v.ID, nil
	}
	return &res, nil
}

var (
	errNoRows = errors.New("groupcommit: the number of rows affected was not recorded")
	// errNoInsertID is database/sql's word for a driver that has none.
	_, errNoInsertID = driver.RowsAffected(0).LastInsertId()
)

// ResolvedValue is the value of a promise of an Exec that came to so many rows and, unless it is nil, that last insert id.
func ResolvedValue(rows int64, id *int64) []byte {
	return appendResolved(make([]byte, 0, 48), rows, id)
}

func appendResolved(b []byte, rows int64, id *int64) []byte {
	b = strconv.AppendInt(append(b, `{"rows":`...), rows, 10)
	if id != nil {
		b = strconv.AppendInt(append(b, `,"id":`...), *id, 10)
	}
	return append(b, '}')
}

// AppendResolved appends the value to be recorded for a call that was answered with a result.
func (c *Call) AppendResolved(b []byte) []byte {
	r, v := &c.out.result, recorded{}
	if r.rowsErr == nil && r.idErr == nil {
		return appendResolved(b, r.rows, &r.id)
	}
	if r.rowsErr == nil {
		v.Rows = &r.rows
	}
	if r.idErr == nil {
		v.ID = &r.id
	}
	more, _ := json.Marshal(v) // two numbers
	return append(b, more...)
}

// RejectedValue is the value to be recorded for a call that failed.
func RejectedValue(code, message string) []byte {
	message = strings.ToValidUTF8(message, "\uFFFD")
	if len(message) > maxMessage {
		n := maxMessage
		for !utf8.RuneStart(message[n]) {
			n--
		}
		message = message[:n]
	}
	b, _ := json.Marshal(recorded{Code: code, Message: message}) // two strings
	return b
}

// Claimed says that it is certain now whether an earlier attempt at the call has left anything: the ledger has been asked,
// by a claim that no other transaction can take back.
func (c *Call) Claimed() { c.doubt = nil }

// Deduplicated reports that a result comes from the ledger, or from another call with the same id that was under way: the
// call that it belongs to was not executed.
func Deduplicated(res sql.Result) bool {
	if own, ok := res.(*result); ok {
		return own.replayed
	}
	// database/sql hands out the driver's result inside a struct of its own.
	if v := reflect.ValueOf(res); v.Kind() == reflect.Struct {
		for i := range v.NumField() {
			if f := v.Field(i); f.Kind() == reflect.Interface && !f.IsNil() && f.Elem().Type() == reflect.TypeFor[*result]() {
				return f.Elem().Elem().FieldByName("replayed").Bool()
			}
		}
	}
	return false
}

// Lookup answers what became of the promise with an id, whoever made it: the record, or durable.ErrNotFound if there is
// none, because no transaction with it has been committed, or because it is older than the retention allows. It reads what
// is committed; a call that is under way is not seen.
//
// What Value.Data holds of a promise of an Exec is JSON: of one that is resolved {"rows":1,"id":7}, the rows affected and the
// last insert id, without what the driver does not tell; of one that is rejected {"code":"23505","message":"…"}, as in
// [RejectedError], without a code if there was none.
//
// db must be one of ours, opened with [Promises].
func Lookup(ctx context.Context, db *sql.DB, id string) (durable.Promise, error) {
	d, err := databaseOf(db)
	if err != nil {
		return durable.Promise{}, err
	}
	if err := d.keeps(id); err != nil {
		return durable.Promise{}, err
	}
	t, err := d.ready(ctx)
	if err != nil {
		return durable.Promise{}, err
	}
	if t.OneConn { // as for a query: whoever has the connection has the turn
		turn := turn.New()
		if err := d.takeTurn(ctx, turn, nil, time.Now()); err != nil {
			return durable.Promise{}, err
		}
		defer d.writer.Leave(turn)
	}
	return d.ledger.Get(ctx, id)
}

// keeps is the error of an id that cannot be kept.
func (d *database) keeps(id string) error {
	if !d.limits.promises {
		return fmt.Errorf("groupcommit: id %q: the database keeps no promises; open it with Promises() or %spromises=on", id, prefix)
	}
	return durable.CheckID(id)
}
