package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/groupcommit/groupcommit"
	gcpgx "github.com/groupcommit/groupcommit/pgx"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

const pgxDriver = "pgx"

// PostgreSQL's sides, except the plain driver's: there is one for every size of its pool.
var (
	pgxGrouped = side{
		driver: gcpgx.DriverName,
		batch:  true,
		pool:   virtual,
		via:    viaExec,
		open:   openPgxGrouped,
		count:  byStats,
	}.making(execCalls)
	pgxHandled = side{
		driver: gcpgx.DriverName,
		batch:  true,
		pool:   inBatches,
		via:    viaCommands,
		api:    commands,
		open:   openPgxGrouped,
		count:  byHandler,
	}.titled(viaCommands)
	pgxCopy = side{
		driver: pgxDriver,
		title:  "CopyFrom",
		batch:  true,
		alone:  true,
		conns:  1,
		via:    viaHand,
		api:    copies,
		open:   openPgx,
		count:  byItself,
	}
	pgxUnnest = side{
		driver: pgxDriver,
		title:  "unnest",
		batch:  true,
		alone:  true,
		conns:  1,
		via:    viaHand,
		api:    unnests,
		open:   openPgx,
		count:  byItself,
	}
	pgxBatch = side{
		driver: pgxDriver,
		title:  "pgx.Batch",
		batch:  true,
		alone:  true,
		conns:  1,
		pool:   "written by hand: one goroutine that has all the values, one connection, --maxlen rows a batch (1,000 without)",
		via:    viaHand,
		api:    batches,
		open:   openPgx,
		count:  byItself,
	}
)

// pgxPlain is the plain driver with a pool of so many connections.
func pgxPlain(conns int) side {
	return side{
		driver: pgxDriver,
		conns:  conns,
		pool:   fmt.Sprintf("%d connections, open before the clock starts; speed tries several", conns),
		via:    viaExec,
		open:   openPgx,
		count:  oneEach,
	}.making(execCalls)
}

func openPgx(dsn string, r *run) (*sql.DB, error) { return openPgxPool(dsn, r.conns) }

func openPgxPool(dsn string, conns int) (*sql.DB, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	// Options of ours, which a DSN may hold, would be refused by the server.
	maps.DeleteFunc(config.RuntimeParams, func(name, _ string) bool { return strings.HasPrefix(name, "groupcommit_") })
	db := stdlib.OpenDB(*config)
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}

func openPgxGrouped(dsn string, r *run) (*sql.DB, error) {
	var opts []groupcommit.Option
	if r.maxLen > 0 {
		opts = append(opts, groupcommit.MaxLen(r.maxLen))
	}
	if r.ids != noIDs {
		opts = append(opts, groupcommit.Promises())
	}
	if r.lines != nil {
		opts = append(opts, groupcommit.OnGroup(r.lines.group))
	}
	if r.physical > 0 {
		opts = append(opts, groupcommit.Physical(r.physical))
	}
	name := gcpgx.DriverName
	if len(opts) > 0 {
		name = tuned(name, stdlib.GetDefaultDriver(), opts...)
	}
	return openVirtual(name, dsn, r)
}

// directly gives a connection of pgx's own.
func directly(ctx context.Context, db *sql.DB, do func(*pgx.Conn) error) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	err = conn.Raw(func(c any) error { return do(c.(*stdlib.Conn).Conn()) })
	return errors.Join(err, conn.Close())
}

// copies is a fast program, written by hand, that has nothing but rows for one table. A COPY is one transaction.
func copies(ctx context.Context, db *sql.DB, w *work) error {
	return directly(ctx, db, func(direct *pgx.Conn) error {
		return w.inPieces(ctx, func(first, n int) error {
			row := make([]any, 1)
			rows := pgx.CopyFromSlice(n, func(i int) ([]any, error) {
				row[0] = int64(first + i)
				return row, nil
			})
			_, err := direct.CopyFrom(context.Background(), pgx.Identifier{w.table}, []string{"value"}, rows)
			return err
		})
	})
}

// batches is a fast program, written by hand. A batch is one round trip and, without a BEGIN in it, one transaction.
func batches(ctx context.Context, db *sql.DB, w *work) error {
	return directly(ctx, db, func(direct *pgx.Conn) error {
		return w.inPieces(ctx, func(first, n int) error {
			var b pgx.Batch
			for v := first; v < first+n; v++ {
				w.queue(&b, v)
			}
			return direct.SendBatch(context.Background(), &b).Close()
		})
	})
}
