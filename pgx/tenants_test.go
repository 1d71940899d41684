package pgx_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
)

type tenantKey struct{}

func asTenant(name string) context.Context {
	return context.WithValue(background, tenantKey{}, name)
}

func tenantOf(ctx context.Context) any { return ctx.Value(tenantKey{}) }

// become is a hook that makes a session the tenant's of a context.
func become(ctx context.Context, c *pgx.Conn) error {
	name, _ := ctx.Value(tenantKey{}).(string)
	_, err := c.Exec(ctx, "SELECT set_config('app.tenant', $1, false)", name)
	return err
}

// hiding is a wrapper that shows nothing of what it wraps.
type hiding struct{ inner driver.Connector }

func (h hiding) Connect(ctx context.Context) (driver.Conn, error) { return h.inner.Connect(ctx) }
func (h hiding) Driver() driver.Driver                            { return h.inner.Driver() }

// deaf hides even more: no field of it is a connector.
type deaf struct {
	connect func(context.Context) (driver.Conn, error)
}

func (d deaf) Connect(ctx context.Context) (driver.Conn, error) { return d.connect(ctx) }
func (d deaf) Driver() driver.Driver                            { return stdlib.GetDefaultDriver() }

// tenants are the ways in which programs prepare a connection for a tenant.
func tenants(t *testing.T, dsn string) map[string]driver.Connector {
	config, err := pgx.ParseConfig(dsn)
	require.NoError(t, err)
	pool := func(set func(*pgxpool.Config)) *pgxpool.Pool {
		c, err := pgxpool.ParseConfig(dsn)
		require.NoError(t, err)
		c.MaxConns = 20
		set(c)
		p, err := pgxpool.NewWithConfig(background, c)
		require.NoError(t, err)
		t.Cleanup(p.Close)
		return p
	}
	prepare := pool(func(c *pgxpool.Config) {
		c.PrepareConn = func(ctx context.Context, conn *pgx.Conn) (bool, error) {
			err := become(ctx, conn)
			return err == nil, err
		}
	})
	acquire := pool(func(c *pgxpool.Config) {
		//lint:ignore SA1019 programs have it
		c.BeforeAcquire = func(ctx context.Context, conn *pgx.Conn) bool { return become(ctx, conn) == nil }
	})
	none := pool(func(*pgxpool.Config) {})
	reset := stdlib.GetConnector(*config, stdlib.OptionAfterConnect(become), stdlib.OptionResetSession(become))
	return map[string]driver.Connector{
		"OptionResetSession":          reset,
		"OptionResetSession, wrapped": deaf{reset.Connect},
		"PrepareConn":                 stdlib.GetPoolConnector(prepare),
		"PrepareConn, wrapped":        hiding{stdlib.GetPoolConnector(prepare)},
		"PrepareConn, hidden":         deaf{stdlib.GetPoolConnector(prepare).Connect},
		"BeforeAcquire":               stdlib.GetPoolConnector(acquire),
		"a pool without hooks":        stdlib.GetPoolConnector(none),
	}
}

func TestEveryCallIsMadeWithItsOwnTenantsSession(t *testing.T) {
	t.Parallel()
	for _, option := range []string{"without Partition", "with Partition"} {
		dsn := pgtest.DSN(t)
		plain := (&rig{T: t}).open("pgx", dsn)
		_, err := plain.Exec(`CREATE TABLE said (tenant text NOT NULL DEFAULT current_setting('app.tenant', true), said text NOT NULL, n int)`)
		require.NoError(t, err)
		for name, connector := range tenants(t, dsn) {
			if name == "a pool without hooks" {
				continue
			}
			t.Run(option+"/"+name, func(t *testing.T) {
				_, err := plain.Exec("DELETE FROM said")
				require.NoError(t, err)
				var mu sync.Mutex
				shared := 0
				opts := []groupcommit.Option{groupcommit.Promises(), groupcommit.OnGroup(func(g groupcommit.GroupInfo) {
					mu.Lock()
					defer mu.Unlock()
					if len(g.Calls) > 1 {
						shared++
					}
					of := g.Calls[0].Context().Value(tenantKey{})
					require.False(t, slices.ContainsFunc(g.Calls, func(c *groupcommit.Call) bool { return c.Context().Value(tenantKey{}) != of }))
				})}
				if option == "with Partition" {
					opts = append(opts, groupcommit.Partition(tenantOf))
				}
				c, err := groupcommit.NewConnector(connector, opts...)
				require.NoError(t, err)
				db := sql.OpenDB(c)
				defer db.Close()
				const n = 10
				var all sync.WaitGroup
				for tenant := range 6 {
					name := fmt.Sprint("tenant ", tenant)
					ctx := asTenant(name)
					all.Go(func() {
						var promises []*groupcommit.Promise
						for i := range n {
							promises = append(promises, groupcommit.Go(ctx, db, "INSERT INTO said (said, n) VALUES ($1, $2)", name, i))
						}
						for _, p := range promises {
							_, err := p.Await(background)
							require.NoError(t, err)
						}
					})
					all.Go(func() {
						for i := range n {
							_, err := db.ExecContext(ctx, "INSERT INTO said (said, n) VALUES ($1, $2)", name, i)
							require.NoError(t, err)
							id := groupcommit.WithID(ctx, t.Name()+name+strconv.Itoa(i))
							_, err = db.ExecContext(id, "INSERT INTO said (said, n) VALUES ($1, $2)", name, i)
							require.NoError(t, err)
						}
					})
					all.Go(func() {
						for range n {
							var got string
							require.NoError(t, db.QueryRowContext(ctx, "SELECT current_setting('app.tenant')").Scan(&got))
							require.Equal(t, name, got)
							tx, err := db.BeginTx(ctx, nil)
							require.NoError(t, err)
							require.NoError(t, tx.QueryRow("SELECT current_setting('app.tenant')").Scan(&got))
							require.Equal(t, name, got)
							require.NoError(t, tx.Commit())
						}
					})
				}
				bounded.Wait(t, "the calls are answered", all.Wait)
				var rows, wrong int
				require.NoError(t, plain.QueryRow("SELECT count(*), count(*) FILTER (WHERE tenant <> said) FROM said").Scan(&rows, &wrong))
				require.Equal(t, 6*3*n, rows)
				require.Zero(t, wrong, "rows of another tenant, or of none")
				if option == "with Partition" {
					require.NotZero(t, shared, "no group had two calls")
				} else {
					require.Zero(t, shared, "groups in spite of the hook")
				}
			})
		}
	}
}

func TestAPoolWithoutHooksIsGroupedAndGetsItsConnectionsBack(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	for name, build := range map[string]func(*pgxpool.Pool) driver.Connector{
		"plain":   func(p *pgxpool.Pool) driver.Connector { return stdlib.GetPoolConnector(p) },
		"wrapped": func(p *pgxpool.Pool) driver.Connector { return hiding{stdlib.GetPoolConnector(p)} },
	} {
		t.Run(name, func(t *testing.T) {
			pool, err := pgxpool.New(background, dsn)
			require.NoError(t, err)
			defer pool.Close()
			_, err = pool.Exec(background, "CREATE TABLE IF NOT EXISTS t (n int)")
			require.NoError(t, err)
			c, err := groupcommit.NewConnector(build(pool))
			require.NoError(t, err)
			db := sql.OpenDB(c)
			defer db.Close()
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() {
					for i := range 20 {
						_, err := db.Exec("INSERT INTO t VALUES ($1)", i)
						require.NoError(t, err)
					}
				})
			}
			bounded.Wait(t, "the calls are answered", all.Wait)
			st, err := groupcommit.StatsOf(db)
			require.NoError(t, err)
			require.EqualValues(t, 400, st.Calls, "of groups")
			require.Zero(t, pool.Stat().AcquiredConns(), "it is idle, and holds connections of the pool")
		})
	}
}

func TestAHandlerIsRefusedWhereSessionsAreTheCallers(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	c, err := groupcommit.NewConnector(tenants(t, dsn)["PrepareConn"])
	require.NoError(t, err)
	db := sql.OpenDB(c)
	defer db.Close()
	_, err = groupcommit.Handle(db, groupcommit.Each(func(context.Context, *sql.Tx, int) (int, error) { return 0, nil }))
	require.ErrorContains(t, err, "PrepareConn reads the context of each caller that uses a connection")
}
