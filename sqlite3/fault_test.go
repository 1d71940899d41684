package sqlite3_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/sqlite3"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// faulty is the engine with a fault: its first group panics, before or after it is committed.
type faulty struct {
	groupcommit.Engine
	late bool
	done *atomic.Bool
}

type faultySession struct {
	engine.Session
	faulty
}

func (e faulty) Open(ctx context.Context, conn driver.Conn, s engine.Settings) (engine.Session, error) {
	session, err := e.Engine.Open(ctx, conn, s)
	return faultySession{session, e}, err
}

func (s faultySession) Group(ctx context.Context, calls []*groupcommit.Call) engine.Outcome {
	if !s.done.CompareAndSwap(false, true) {
		return s.Session.Group(ctx, calls)
	}
	if s.late {
		s.Session.Group(ctx, calls)
	}
	panic("a fault of the engine's")
}

func TestAfterAPanicOfTheEngineACallWithAnIDFindsOutWhatBecameOfIt(t *testing.T) {
	for _, late := range []bool{false, true} {
		for name, dsn := range map[string]string{
			"in a file": dsnOf(t, ""),
			"in memory": fmt.Sprintf("file:fault%t?mode=memory&cache=shared", late),
		} {
			t.Run(fmt.Sprintf("%s, late: %t", name, late), func(t *testing.T) {
				plain := openDB(t, "sqlite3", dsn, "CREATE TABLE a (k INTEGER, v TEXT)") // keeps what is in memory
				c, err := groupcommit.NewConnector(connector{dsn}, groupcommit.WithEngine(faulty{sqlite3.Engine, late, new(atomic.Bool)}), groupcommit.Promises())
				require.NoError(t, err)
				db := sql.OpenDB(c)
				defer db.Close()
				require.NoError(t, db.Ping())
				release := hold(t, db)
				var ps []*groupcommit.Promise
				for i := range 20 {
					ps = append(ps, groupcommit.Go(withID(fmt.Sprint(i)), db, insertRow, i, "v"))
				}
				awaitQueued(t, db, len(ps))
				release()
				for _, p := range ps {
					res, err := p.Await(background)
					require.NoError(t, err)
					require.Equal(t, late, groupcommit.Deduplicated(res))
				}
				require.NoError(t, db.Close())
				require.Equal(t, len(ps), count(t, plain, "SELECT count(DISTINCT k) FROM a"))
				require.Equal(t, len(ps), count(t, plain, "SELECT count(*) FROM a"))
			})
		}
	}
}

// connector is the plain driver's.
type connector struct{ dsn string }

func (c connector) Connect(context.Context) (driver.Conn, error) { return c.Driver().Open(c.dsn) }
func (connector) Driver() driver.Driver                          { return &mattn.SQLiteDriver{} }
