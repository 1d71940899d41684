package durable

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// NewSQL returns a Store in a table of the database. Prepare makes the table if it is missing; its errors are NewSQL's. The
// database is SQLite or PostgreSQL, through any driver. All programs on this database have the same promises. A program that
// has it open with groupcommit's Promises deletes the promises that were completed longer ago than its Retention, the
// Store's too.
//
// A create costs one statement if the id is new, and a completion two, a read and a write. Each write is a transaction, or a
// part of a shared one if the driver is one of groupcommit's. Statements run at the level READ COMMITTED, PostgreSQL's
// default; at a stricter one they may fail with 40001. The caller closes db.
func NewSQL(ctx context.Context, db *sql.DB) (Store, error) {
	d, err := Prepare(ctx, db)
	if err != nil {
		return nil, err
	}
	return d.NewStore(db), nil
}

// NewStore is NewSQL for a known dialect, after Prepare. It sends no query. As many goroutines may call the Store's methods
// as may call q's.
func (d Dialect) NewStore(q Querier) Store {
	return &store{&sqlTable{q, d}, time.Now}
}

// sqlTable is the table in a database. A parameter $n is the nth argument of a statement and has the same value each time it
// is repeated. Both databases read it alike.
type sqlTable struct {
	db Querier
	Dialect
}

const (
	selectPromise = `SELECT id, state, create_key, complete_key, param_headers, param, value_headers, value, tags, timeout,
		created_at, completed_at FROM groupcommit_promises `
	insertPromise = `INSERT INTO groupcommit_promises (id, state, create_key, param_headers, param, tags, timeout, created_at,
		completed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO NOTHING`
	settlePromise = `UPDATE groupcommit_promises SET state = $1, complete_key = $2, value_headers = $3, value = $4,
		completed_at = $5 WHERE id = $6 AND state = 0 AND created_at = $7`
)

func (t *sqlTable) read(ctx context.Context, id string) (*Promise, error) {
	found, err := t.query(ctx, selectPromise+"WHERE id = $1", id)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return &found[0], nil
}

func (t *sqlTable) insert(ctx context.Context, p Promise) (bool, error) {
	return t.exec(ctx, insertPromise, p.ID, int64(p.State), bytes(p.CreateKey), object(p.Param.Headers), bytes(p.Param.Data),
		object(p.Tags), epoch(p.Timeout), epoch(p.Created), epoch(p.Completed))
}

func (t *sqlTable) settle(ctx context.Context, p Promise) (bool, error) {
	return t.exec(ctx, settlePromise, int64(p.State), bytes(p.CompleteKey), object(p.Value.Headers), bytes(p.Value.Data),
		epoch(p.Completed), p.ID, epoch(p.Created))
}

// exec reports whether a statement about one row has found it.
func (t *sqlTable) exec(ctx context.Context, statement string, args ...any) (bool, error) {
	res, err := t.db.ExecContext(ctx, statement, args...)
	if err != nil {
		return false, fmt.Errorf("durable: writing a promise: %w", err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return false, fmt.Errorf("durable: writing a promise: %w", err)
	}
	return n > 0, nil
}

func (t *sqlTable) query(ctx context.Context, text string, args ...any) (found []Promise, err error) {
	defer func() {
		if err != nil {
			found, err = nil, fmt.Errorf("durable: reading promises: %w", err)
		}
	}()
	rows, err := t.db.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		p, err := scan(rows)
		if err != nil {
			return nil, err
		}
		found = append(found, p)
	}
	return found, rows.Err()
}

func scan(rows *sql.Rows) (p Promise, err error) {
	var createKey, completeKey, paramHeaders, valueHeaders, tags []byte
	var timeout, created, completed sql.NullInt64
	if err := rows.Scan(&p.ID, &p.State, &createKey, &completeKey, &paramHeaders, &p.Param.Data, &valueHeaders, &p.Value.Data,
		&tags, &timeout, &created, &completed); err != nil {
		return p, err
	}
	p.CreateKey, p.CompleteKey = Key(createKey), Key(completeKey)
	p.Timeout, p.Created, p.Completed = fromEpoch(timeout), fromEpoch(created), fromEpoch(completed)
	return p, errors.Join(fromObject(paramHeaders, &p.Param.Headers), fromObject(valueHeaders, &p.Value.Headers),
		fromObject(tags, &p.Tags))
}

// The values of the columns: NULL stands for every empty value.

func bytes[T Key | []byte](b T) any {
	if len(b) == 0 {
		return nil
	}
	return []byte(b)
}

func object(m map[string]string) any {
	if len(m) == 0 {
		return nil
	}
	text, _ := json.Marshal(m) // a map of strings cannot fail
	return string(text)
}

func fromObject(text []byte, m *map[string]string) error {
	if text == nil {
		return nil
	}
	return json.Unmarshal(text, m)
}

func epoch(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMilli()
}

func fromEpoch(ms sql.NullInt64) time.Time {
	if !ms.Valid {
		return time.Time{}
	}
	return time.UnixMilli(ms.Int64).UTC()
}
