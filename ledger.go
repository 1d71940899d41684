package groupcommit

import (
	"context"
	"database/sql"
	"fmt"
	"reflect"
	"time"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/turn"
)

// The ledger is the table of promises, as far as calls with an id are concerned. A session of an engine claims the ids of
// its calls, executes those that are new, and records their outcomes, all in one transaction. So there is never a row
// without an outcome, and never an outcome without its effect; and a call that comes again is answered from the ledger.
//
// What a call comes to in the ledger is a durable.Promise: its create key is the call's fingerprint, its value the result or
// the error in JSON.

// Deduplicated reports that a result comes from the ledger, or from another call with the same id that was under way: the
// call that it belongs to was not executed.
func Deduplicated(res sql.Result) bool {
	if own, ok := res.(*engine.Result); ok {
		return own.Replayed
	}
	// database/sql hands out the driver's result inside a struct of its own.
	if v := reflect.ValueOf(res); v.Kind() == reflect.Struct {
		for i := range v.NumField() {
			if f := v.Field(i); f.Kind() == reflect.Interface && !f.IsNil() && f.Elem().Type() == reflect.TypeFor[*engine.Result]() {
				return f.Elem().Elem().FieldByName("Replayed").Bool()
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
		if err := d.TakeTurn(ctx, turn, nil, time.Now()); err != nil {
			return durable.Promise{}, err
		}
		defer d.Writer.Leave(turn)
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
