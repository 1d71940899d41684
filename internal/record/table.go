package record

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/groupcommit/groupcommit/durable"
)

// Table is the rows of one kind of command, by database/sql: how the ids of a batch are claimed and their outcomes recorded
// in the handler's own transaction, and how commands that are still to be run are kept, leased to one process at a time, and
// settled.
//
// A command that is not durable has a row only when it is settled: see [Table.Claim] and [Table.Record]. A durable one has a
// row from the beginning, which is PENDING: see [Table.Pending], [Table.Hold] and [Table.Settle].
type Table struct {
	Dialect Dialect
	Kind    string // of the commands
	// Expected is the value that most commands are resolved with. In PostgreSQL only others cost an UPDATE.
	Expected []byte
}

// Claim makes the ids of rows the transaction's own, until it ends, and returns those rows that are in the table already.
func (t *Table) Claim(ctx context.Context, tx durable.Querier, rows []Row) (found map[string]Row, err error) {
	ids := idsOf(rows)
	statements := t.Dialect.Claim(t, rows)
	if len(statements) == 0 {
		return t.Read(ctx, tx, ids)
	}
	claimed, err := strs(query(ctx, tx, statements...))
	if err != nil || len(claimed) == len(rows) {
		return nil, err
	}
	mine := setOf(claimed)
	others := slices.DeleteFunc(ids, func(id string) bool { return mine[id] })
	found, err = t.Read(ctx, tx, others)
	if err == nil && len(found) < len(others) {
		// Deleted between two statements: the next attempt claims it. Or a policy or a trigger hides it for good.
		err = fmt.Errorf("groupcommit: "+Name+" neither takes nor shows %d of the ids %.100q", len(others)-len(found), others)
	}
	return found, err
}

// Record records the outcomes of commands that were claimed at a time. If one of them is not there afterwards, it is an
// error.
func (t *Table) Record(ctx context.Context, tx durable.Querier, rows []Row, claimed time.Time) error {
	for s, rows := range t.Dialect.Record(t, rows, claimed) {
		n, err := exec(ctx, tx, s)
		if err != nil {
			return err
		}
		if n != int64(rows) {
			return Incomplete(rows, n)
		}
	}
	return nil
}

// Settle completes pending commands, and returns how many: one that is pending no longer is left as it is.
func (t *Table) Settle(ctx context.Context, q durable.Querier, rows []Row) (n int64, err error) {
	for s := range t.Dialect.Settle(rows) {
		done, err := exec(ctx, q, s)
		if err != nil {
			return n, err
		}
		n += done
	}
	return n, nil
}

// Last returns the statements of Record, or of Settle if the rows are in the state Pending, for COMMIT to be sent together
// with them: each fails unless it completes all its rows. false: the database has no such statements.
func (t *Table) Last(rows []Row, from durable.State, claimed time.Time) ([]Statement, bool) {
	return t.Dialect.Last(t, rows, from, claimed)
}

// Read returns those rows of the ids that are in the table, whatever their kind.
func (t *Table) Read(ctx context.Context, q durable.Querier, ids []string) (map[string]Row, error) {
	rows, err := scan(query(ctx, q, t.Dialect.Read(ids)))
	if err != nil {
		return nil, err
	}
	found := make(map[string]Row, len(rows))
	for _, r := range rows {
		found[r.ID] = r
	}
	return found, nil
}

// exec returns how many rows a statement has affected.
func exec(ctx context.Context, q durable.Querier, s Statement) (int64, error) {
	res, err := q.ExecContext(ctx, s.Text, s.Args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// query executes statements, of which the last returns rows.
func query(ctx context.Context, q durable.Querier, statements ...Statement) (*sql.Rows, error) {
	last := len(statements) - 1
	for _, s := range statements[:last] {
		if _, err := exec(ctx, q, s); err != nil {
			return nil, err
		}
	}
	return q.QueryContext(ctx, statements[last].Text, statements[last].Args...)
}

// scan reads rows of columns.
func scan(rows *sql.Rows, err error) (found []Row, _ error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var r Row
		var key []byte
		var kind, owner sql.NullString
		var created, timeout sql.NullInt64
		if err := rows.Scan(&r.ID, &kind, &r.State, &key, &r.Value, &r.Param, &owner, &created, &timeout); err != nil {
			return nil, err
		}
		r.Kind, r.Key, r.Owner, r.Created = kind.String, durable.Key(key), owner.String, time.UnixMilli(created.Int64)
		if timeout.Valid {
			r.Timeout = time.UnixMilli(timeout.Int64)
		}
		found = append(found, r)
	}
	return found, rows.Err()
}

func strs(rows *sql.Rows, err error) (found []string, _ error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		found = append(found, s)
	}
	return found, rows.Err()
}

func setOf(ids []string) map[string]bool {
	set := make(map[string]bool, len(ids))
	for _, id := range ids {
		set[id] = true
	}
	return set
}
