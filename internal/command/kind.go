package command

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"reflect"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/flight"
	"github.com/groupcommit/groupcommit/internal/record"
)

// A Kind is one type of command on one database. All commands of the type share it, and so does all that deals with them. But for
// what it counts, it does not change after [New].
type Kind struct {
	host    Host
	traits  *engine.Traits
	typ     reflect.Type
	name    string
	codec   Codec
	table   record.Table               // its Dialect is nil if nothing is recorded
	flights *flight.Map[engine.Answer] // the database's
	errors  Errors
	counts  counts

	// Of durable commands.
	owner   string      // of the leases that this process has; "" if the commands are not durable
	settled func(*Task) // a task is no longer in this process's hands; nil if the commands are not durable
}

// Errors are the errors that a program compares with.
type Errors struct {
	Closed  error                              // of a command that comes after Close
	Ended   error                              // of a handler that has ended its transaction
	Undone  error                              // of a handler that goes on after a statement has ended its transaction
	Pending func(id string, cause error) error // of a recorded command that stays pending here, and why
}

// Type is the commands' type.
func (k *Kind) Type() reflect.Type { return k.typ }

// Name is the name of that type in the database.
func (k *Kind) Name() string { return k.name }

// Encode is the codec's Encode. Its panic is an error.
func (k *Kind) Encode(v any) (data []byte, err error) {
	err = engine.Guard(func() (err error) {
		data, err = k.codec.Encode(v)
		return err
	})
	return bytes.Clone(data), err // a codec may use its buffer again
}

// Decode is the codec's Decode. Its panic is an error.
func (k *Kind) Decode(data []byte, v any) error {
	return engine.Guard(func() error { return k.codec.Decode(data, v) })
}

// db is for statements outside of a handler's transaction.
func (k *Kind) db() *sql.DB { return k.host.DB() }

// final reports that an error would come again if the same was tried again, and its code in the database.
func (k *Kind) final(err error) (code string, final bool) {
	if k.traits.Final == nil {
		return "", false
	}
	return k.traits.Final(err)
}

// blameless reports an error that no command has caused: those that met it are to be tried again, for as long as it takes.
func (k *Kind) blameless(err error) bool {
	return k.host.Transient(err) || errors.Is(err, driver.ErrBadConn) || k.traits.Environment != nil && k.traits.Environment(err)
}

// rejection is what is recorded of a command that was rejected.
func (k *Kind) rejection(err error) []byte {
	code, _ := k.final(err)
	return record.Outcome{Code: code, Message: err.Error()}.Append(nil)
}

// notDurable is the error of what only durable commands have.
func (k *Kind) notDurable(what string) error {
	return fmt.Errorf("groupcommit: %s: commands of kind %q are not Durable, which is an option of Handle", what, k.name)
}

// acknowledged reads what is recorded of ids, to be answered with. It is durable, whichever transaction has recorded it.
func (k *Kind) acknowledged(ctx context.Context, ids []string) (map[string]record.Row, error) {
	found, err := k.table.Read(ctx, k.db(), ids)
	if err == nil && len(found) > 0 {
		err = k.makeDurable()
	}
	return found, err
}

// makeDurable returns when all that was read is durable.
func (k *Kind) makeDurable() error {
	if k.traits.Durable == nil {
		return nil
	}
	return k.traits.Durable()
}
