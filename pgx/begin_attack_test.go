package pgx_test

import (
	"database/sql"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
)

func TestAnErrorOfBeginEndsTheTransactionAlsoBeforeATextWithoutArguments(t *testing.T) {
	t.Parallel()
	primary := pgtest.New(t, pgtest.Options{})
	standby := pgtest.NewStandby(t, primary, pgtest.Options{})
	db := (&rig{T: t}).open("pgx-groupcommit", standby.DSN())
	bounded.Test(t)
	tx, err := db.BeginTx(background, &sql.TxOptions{Isolation: sql.LevelSerializable})
	require.NoError(t, err)
	_, err = tx.Exec("SELECT 1")
	require.ErrorContains(t, err, "serializable")
	require.Error(t, tx.Commit(), "a statement of the transaction has failed")
}

func TestAPanicInANoticeOfBeginEndsTheTransaction(t *testing.T) {
	t.Parallel()
	r := setUp(t)
	config, err := pgx.ParseConfig(pgtest.With(r.dsn, pgtest.Param("client_min_messages", "debug5")))
	require.NoError(t, err)
	panics := false
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if panics {
			panics = false
			panic("a program's mistake")
		}
	}
	connector, err := groupcommit.NewConnector(stdlib.GetConnector(*config))
	require.NoError(t, err)
	db := sql.OpenDB(connector)
	defer db.Close()
	db.SetMaxOpenConns(1)
	for range 2 {
		transact(t, db, nil, func(tx *sql.Tx) { execArgs()(t, tx, 1) })
	}
	tx, err := db.Begin()
	require.NoError(t, err)
	panics = true
	require.Panics(t, func() { tx.Exec(logRow, 2) })
	_, err = tx.Exec(logRow, 3)
	require.NoError(t, err, "nothing was committed, and another connection will do")
	require.NoError(t, tx.Rollback())
	transact(t, db, nil, func(tx *sql.Tx) { execArgs()(t, tx, 4) })
	require.Equal(t, "1,1,4", r.value("SELECT string_agg(k::text, ',' ORDER BY k) FROM log"))
}
