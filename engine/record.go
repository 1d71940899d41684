package engine

import (
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/groupcommit/groupcommit/durable"
)

// maxMessage bounds what is recorded of an error's text.
const maxMessage = 1 << 10

// recorded is the value of a promise of an Exec. A pointer is nil where the driver gave no number.
type recorded struct {
	Rows    *int64 `json:"rows,omitempty"`
	ID      *int64 `json:"id,omitempty"`
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
}

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
	res := Result{Replayed: true, rowsErr: errNoRows, idErr: errNoInsertID}
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
	r, v := &c.out.Result, recorded{}
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
