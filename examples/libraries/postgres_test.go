package libraries_test

import (
	"database/sql"
	"fmt"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
)

// GORM's migrator has to see a table whose columns have changed. It does so by its Conn, and not by another name of a driver.
func TestGORMMigratesAndGroupsOnPostgreSQL(t *testing.T) {
	dsn := pgtest.DSN(t)
	pool, err := sql.Open("pgx-groupcommit", dsn)
	require.NoError(t, err)
	defer pool.Close()
	db, err := gorm.Open(postgres.New(postgres.Config{Conn: pool}), &gorm.Config{SkipDefaultTransaction: true})
	require.NoError(t, err)

	type User struct {
		ID   int64
		Name string
	}
	require.NoError(t, db.AutoMigrate(&User{}))
	require.NoError(t, db.AutoMigrate(&User{}))
	grouped(t, pool, func(i int) error { return db.Create(&User{Name: fmt.Sprint("user ", i)}).Error })
	{
		type User struct {
			ID   int64
			Name string
			Born string
		}
		require.NoError(t, db.AutoMigrate(&User{}))
		require.NoError(t, db.AutoMigrate(&User{}))
		grouped(t, pool, func(i int) error { return db.Create(&User{Name: fmt.Sprint("user ", i), Born: "then"}).Error })
	}
}

func TestOverAPgxpoolThatTheProgramUsesToo(t *testing.T) {
	ctx, dsn := t.Context(), pgtest.DSN(t)
	pool, err := pgxpool.New(ctx, dsn)
	require.NoError(t, err)
	defer pool.Close()
	connector, err := groupcommit.NewConnector(stdlib.GetPoolConnector(pool))
	require.NoError(t, err)
	db := sql.OpenDB(connector)
	defer db.Close()

	insertsAreGrouped(t, db)
	var n int
	require.NoError(t, pool.QueryRow(ctx, "SELECT count(*) FROM users").Scan(&n))
	require.Equal(t, goroutines, n)
	require.Zero(t, pool.Stat().AcquiredConns(), "taken from the pool's other users while nothing uses them")
}

func TestARegisteredConnConfig(t *testing.T) {
	dsn := pgtest.DSN(t)
	config, err := pgx.ParseConfig(dsn)
	require.NoError(t, err)
	config.RuntimeParams["application_name"] = "shop"
	db, err := sql.Open("pgx-groupcommit", stdlib.RegisterConnConfig(config))
	require.NoError(t, err)
	defer db.Close()
	insertsAreGrouped(t, db)
	hasName(t, db)

	db, err = groupcommit.Open("pgx", stdlib.RegisterConnConfig(config), groupcommit.Physical(20))
	require.NoError(t, err)
	defer db.Close()
	hasName(t, db)

	db, err = sql.Open("pgx-groupcommit", stdlib.RegisterConnConfig(config)+"?groupcommit_physical=7")
	require.NoError(t, err)
	defer db.Close()
	hasName(t, db)
	stats, err := groupcommit.StatsOf(db)
	require.NoError(t, err)
	require.Equal(t, 7, stats.Leased.MaxOpenConnections)
}

func hasName(t *testing.T, db *sql.DB) {
	var name string
	require.NoError(t, db.QueryRow("SHOW application_name").Scan(&name))
	require.Equal(t, "shop", name)
}

// The group waits until all callers are in it, and has one transaction.
func TestBehindPgbouncerInTransactionModeAGroupIsOneTransaction(t *testing.T) {
	db, err := sql.Open("pgx-groupcommit", pgtest.DSN(t, pgtest.Bouncer(t, pgtest.Shared(t), "transaction"),
		pgtest.Param("default_query_exec_mode", "exec"), pgtest.Param("groupcommit_physical", "3"),
		pgtest.Param("groupcommit_maxlen", fmt.Sprint(goroutines)), pgtest.Param("groupcommit_maxdelay", "1m")))
	require.NoError(t, err)
	defer db.Close()
	insertsAreGrouped(t, db)
	require.Equal(t, 1, count(t, db, "SELECT count(DISTINCT xmin::text) FROM users"))
}

func insertsAreGrouped(t *testing.T, db *sql.DB) {
	_, err := db.Exec("CREATE TABLE users (id BIGINT GENERATED ALWAYS AS IDENTITY, name TEXT NOT NULL)")
	require.NoError(t, err)
	grouped(t, db, func(i int) error {
		_, err := db.Exec("INSERT INTO users (name) VALUES ($1)", fmt.Sprint("user ", i))
		return err
	})
	require.Equal(t, goroutines, count(t, db, "SELECT count(*) FROM users"))
}
