package pgx_test

import (
	"context"
	"database/sql"
	"errors"
	"net"
	"sync/atomic"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
)

// A cutter breaks the connection that is used next, when some bytes have gone in one direction.
type cutter struct{ next atomic.Pointer[byteCut] }

type byteCut struct {
	reads bool
	left  atomic.Int64
}

type cutConn struct {
	net.Conn
	c *cutter
}

var errCut = errors.New("cut")

func (c cutConn) Read(b []byte) (int, error) {
	at := c.c.next.Load()
	if at == nil || !at.reads {
		return c.Conn.Read(b)
	}
	left := at.left.Load()
	if left <= 0 {
		c.c.next.CompareAndSwap(at, nil)
		c.Conn.Close()
		return 0, errCut
	}
	n, err := c.Conn.Read(b[:min(len(b), int(left))])
	at.left.Add(int64(-n))
	return n, err
}

func (c cutConn) Write(b []byte) (int, error) {
	at := c.c.next.Load()
	if at == nil || at.reads {
		return c.Conn.Write(b)
	}
	left := at.left.Add(int64(-len(b)))
	if left >= 0 {
		return c.Conn.Write(b)
	}
	c.c.next.CompareAndSwap(at, nil)
	n, _ := c.Conn.Write(b[:len(b)+int(left)])
	c.Conn.Close()
	return n, errCut
}

// cutting opens a database whose connections are cut where the cutter says.
func cutting(t *testing.T, dsn string, opts ...groupcommit.Option) (*sql.DB, *cutter) {
	t.Helper()
	config, err := pgx.ParseConfig(dsn)
	require.NoError(t, err)
	c := new(cutter)
	dial := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		return cutConn{conn, c}, err
	}
	connector, err := groupcommit.NewConnector(stdlib.GetConnector(*config), opts...)
	require.NoError(t, err)
	db := sql.OpenDB(connector)
	t.Cleanup(func() { db.Close() })
	return db, c
}

func TestAFirstExchangeThatIsCutAtAnyByteIsWholeOrNothing(t *testing.T) {
	t.Parallel()
	r := setUp(t)
	db, c := cutting(t, r.dsn)
	db.SetMaxOpenConns(1)
	k, step := 0, 1
	if !*everyMode {
		step = 3 // a byte of a text is like its neighbours
	}
	for _, reads := range []bool{false, true} {
		for _, known := range []bool{false, true} {
			for n := 0; ; n += step {
				k++
				text := "INSERT INTO log (k) VALUES ($1) RETURNING k"
				if known {
					transact(t, db, nil, func(tx *sql.Tx) { require.Equal(t, "-1", one(tx, text, -1)) })
				} else {
					r.exec(db, "SELECT 1")
				}
				tx, err := db.Begin()
				require.NoError(t, err)
				at := &byteCut{reads: reads}
				at.left.Store(int64(n))
				c.next.Store(at)
				got := one(tx, text, k)
				reached := c.next.Swap(nil) == nil
				_, err2 := tx.Exec(logRow, k)
				err = tx.Commit()
				rows := r.value("SELECT count(*) FROM log WHERE k = $1", k)
				if err == nil {
					require.NoError(t, err2)
					require.Equal(t, "2", rows, "%v %v %d %s", reads, known, n, got)
				} else {
					require.Equal(t, "0", rows, "%v %v %d %s", reads, known, n, got)
				}
				if !reached {
					break
				}
			}
		}
	}
}
