package main

import (
	"context"
	"database/sql"
	"time"

	"github.com/jackc/pgx/v5"
)

// A program that is written by hand, and that must not execute a call twice, keeps a row for each call's id in the transaction of
// the call. That is the least that an id costs.

func (w *work) createIDs() string {
	return "CREATE TABLE IF NOT EXISTS " + w.table + "_ids (id TEXT PRIMARY KEY, affected INTEGER NOT NULL, at BIGINT NOT NULL)"
}

func (w *work) keepID() string {
	return "INSERT INTO " + w.table + "_ids (id, affected, at) VALUES ($1, $2, $3)"
}

// loopWithIDs is loop with the ids.
func loopWithIDs(ctx context.Context, db *sql.DB, w *work) error {
	if _, err := db.Exec(w.createIDs()); err != nil {
		return err
	}
	return w.inPieces(ctx, func(first, n int) error {
		return inTx(db, func(tx *sql.Tx) error {
			insert, err := tx.Prepare(w.insert)
			if err != nil {
				return err
			}
			defer insert.Close()
			keep, err := tx.Prepare(w.keepID())
			if err != nil {
				return err
			}
			defer keep.Close()
			for v := first; v < first+n; v++ {
				if _, err := insert.Exec(v); err != nil {
					return err
				}
				if _, err := keep.Exec(w.id(v), 1, time.Now().UnixMilli()); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// batchesWithIDs is batches with the ids.
func batchesWithIDs(ctx context.Context, db *sql.DB, w *work) error {
	if _, err := db.Exec(w.createIDs()); err != nil {
		return err
	}
	return directly(ctx, db, func(direct *pgx.Conn) error {
		return w.inPieces(ctx, func(first, n int) error {
			var b pgx.Batch
			for v := first; v < first+n; v++ {
				w.queue(&b, v)
				b.Queue(w.keepID(), w.id(v), 1, time.Now().UnixMilli())
			}
			return direct.SendBatch(context.Background(), &b).Close()
		})
	})
}
