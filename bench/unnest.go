package main

import (
	"context"
	"database/sql"

	"github.com/jackc/pgx/v5"
)

// unnests is a fast program, written by hand: a statement for a whole array of rows.
func unnests(ctx context.Context, db *sql.DB, w *work) error {
	return directly(ctx, db, func(direct *pgx.Conn) error {
		return w.inPieces(ctx, func(first, n int) error {
			values := make([]int64, n)
			for i := range values {
				values[i] = int64(first + i)
				if w.shape != nil {
					values[i] = int64(w.shape.args(first + i)[0].(int))
				}
			}
			if w.shape != nil && w.shape.returning {
				rows, err := direct.Query(context.Background(), w.unnest, values)
				if err != nil {
					return err
				}
				_, err = pgx.CollectRows(rows, pgx.RowTo[int64])
				return err
			}
			_, err := direct.Exec(context.Background(), w.unnest, values)
			return err
		})
	})
}
