package pgx_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// refusing is a server with a role that may have so many connections, and a database of that role's that is ours.
func refusing(t *testing.T, limit int) (admin, db *sql.DB) {
	s := pgtest.New(t, pgtest.Options{})
	r := setUpOn(t, s.DSN(), nil)
	r.exec(r.plain, fmt.Sprintf("CREATE ROLE small LOGIN PASSWORD 'small' CONNECTION LIMIT %d", limit))
	r.exec(r.plain, "GRANT ALL ON rows, log TO small")
	return r.plain, r.open("pgx-groupcommit", s.DSN(pgtest.User("small", "small")))
}

func within20s(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(background, 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func codeOf(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code
	}
	return ""
}

// A program whose pool allows more connections than the role may have gets 53300 on the plain driver.
func TestCallersAndGroupsShareTheConnectionsThatTheServerGrants(t *testing.T) {
	_, db := refusing(t, 4)
	db.SetMaxIdleConns(40)
	var all sync.WaitGroup
	for g := range 40 {
		all.Go(func() {
			ctx := within20s(t)
			for i := range 10 {
				var err error
				switch i % 3 {
				case 0:
					_, err = db.ExecContext(ctx, "INSERT INTO rows (k) VALUES ($1)", g*10+i)
				case 1:
					err = db.QueryRowContext(ctx, "SELECT count(*), pg_sleep(0.001)::text FROM log").Scan(new(int), new(string))
				default:
					_, again := db.ExecContext(ctx, "INSERT INTO rows (k) VALUES ($1)", g*10) // it is put off
					if codeOf(again) != "23505" {
						err = fmt.Errorf("the row is there: %w", again)
					}
				}
				if !assert.NoError(t, err) {
					return
				}
			}
		})
	}
	bounded.Wait(t, "the callers are served", all.Wait)
	var n int
	require.NoError(t, db.QueryRow("SELECT count(*) FROM rows").Scan(&n))
	assert.Equal(t, 160, n)
	st, err := groupcommit.StatsOf(db)
	require.NoError(t, err)
	assert.LessOrEqual(t, st.Leased.OpenConnections, 4)
}

func TestGroupsGoOnBesideCallsThatWaitForLocksInABoundedPool(t *testing.T) {
	r := setUp(t, groupcommit.Physical(4))
	admin, db := r.plain, r.db
	db.SetMaxIdleConns(40)
	_, err := admin.Exec("INSERT INTO rows (k) VALUES (1)")
	require.NoError(t, err)
	lock, err := admin.Begin()
	require.NoError(t, err)
	_, err = lock.Exec("UPDATE rows SET v = 'mine' WHERE k = 1")
	require.NoError(t, err)
	var blocked sync.WaitGroup
	for range 20 {
		blocked.Go(func() {
			_, err := db.ExecContext(within20s(t), "UPDATE rows SET v = 'next' WHERE k = 1")
			assert.NoError(t, err)
		})
	}
	var others sync.WaitGroup
	for i := range 10 {
		others.Go(func() {
			for j := range 5 {
				_, err := db.ExecContext(within20s(t), "INSERT INTO log VALUES ($1)", i*5+j)
				assert.NoError(t, err)
			}
		})
	}
	bounded.Wait(t, "those that need no lock are answered", others.Wait)
	require.NoError(t, lock.Rollback())
	bounded.Wait(t, "the others follow", blocked.Wait)
}

func TestARoleThatMayNotLogInAnyMoreIsServedByTheConnectionsThatItHas(t *testing.T) {
	admin, db := refusing(t, -1)
	require.NoError(t, db.Ping())
	require.NoError(t, db.Ping()) // from now on it is known that the program's pool keeps connections
	one, err := db.Conn(background)
	require.NoError(t, err)
	require.NoError(t, one.PingContext(background))
	_, err = admin.Exec("ALTER ROLE small NOLOGIN")
	require.NoError(t, err)
	answered := make(chan error, 1)
	go func() { answered <- db.PingContext(within20s(t)) }()
	time.Sleep(10 * time.Millisecond) // mostly, the caller is refused first
	require.NoError(t, one.Close())
	require.NoError(t, <-answered)
}

func TestWhereNoConnectionIsOpenTheServersRefusalIsTheAnswer(t *testing.T) {
	_, db := refusing(t, 0)
	assert.Equal(t, "53300", codeOf(db.Ping()))
}
