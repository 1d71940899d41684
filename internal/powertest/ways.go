package powertest

import (
	"context"
	"database/sql"
	"fmt"
)

// A Way inserts the row add into the table t and deletes the row remove, which is there; 0 is no row. When it returns,
// both are acknowledged.
type Way func(ctx context.Context, db *sql.DB, add, remove int64) error

const (
	text    = "abcdefghijklmnopqrstuvwxyz"
	insert  = "INSERT INTO t VALUES (?, '" + text + "')"
	remove_ = "DELETE FROM t WHERE id = ?"
)

// Execs are lone Execs.
func Execs(ctx context.Context, db *sql.DB, add, remove int64) error {
	if _, err := db.ExecContext(ctx, insert, add); err != nil || remove == 0 {
		return err
	}
	return one(db.ExecContext(ctx, remove_, remove))
}

// Transactions are those of Begin and Commit. Some end in a rollback, and are made again.
func Transactions(ctx context.Context, db *sql.DB, add, remove int64) error {
	if add%7 == 0 {
		tx, err := change(ctx, db, add, remove)
		if err != nil {
			return err
		}
		if err := tx.Rollback(); err != nil {
			return err
		}
	}
	tx, err := change(ctx, db, add, remove)
	if err != nil {
		return err
	}
	return tx.Commit()
}

func change(ctx context.Context, db *sql.DB, add, remove int64) (*sql.Tx, error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	if _, err = tx.ExecContext(ctx, insert, add); err == nil && remove != 0 {
		err = one(tx.ExecContext(ctx, remove_, remove))
	}
	if err != nil {
		tx.Rollback()
	}
	return tx, err
}

// Returning are lone queries that change rows.
func Returning(ctx context.Context, db *sql.DB, add, remove int64) error {
	var id int64
	if err := db.QueryRowContext(ctx, insert+" RETURNING id", add).Scan(&id); err != nil || remove == 0 {
		return err
	}
	return db.QueryRowContext(ctx, remove_+" RETURNING id", remove).Scan(&id)
}

// Texts are transactions in a text of several statements.
func Texts(ctx context.Context, db *sql.DB, add, remove int64) error {
	_, err := db.ExecContext(ctx, fmt.Sprintf("BEGIN IMMEDIATE; INSERT INTO t VALUES (%d, '%s'); DELETE FROM t WHERE id = %d; COMMIT", add, text, remove))
	return err
}

func one(r sql.Result, err error) error {
	if err != nil {
		return err
	}
	if n, err := r.RowsAffected(); err != nil || n != 1 {
		return fmt.Errorf("%d rows instead of one: %w", n, err)
	}
	return nil
}
