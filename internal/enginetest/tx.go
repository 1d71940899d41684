package enginetest

import (
	"context"
	"database/sql"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var txStories = []story{
	{"ACommittedTransactionIsThere", committedTx},
	{"ARolledBackTransactionIsNot", rolledBackTx},
	{"ACancelledTransactionIsRolledBack", cancelledTx},
	{"TransactionsRunBesideGroups", txBesideGroups},
	{"PreparedStatementsJoinATransaction", preparedInTx},
	{"TransactionErrorsAreThePlainDrivers", txErrors},
	{"PingAndReadsWorkWhileGroupsAreHeld", readsWhileHeld},
}

func committedTx(s *scene) {
	tx, err := s.db.Begin()
	require.NoError(s, err)
	res := s.exec(tx, "INSERT INTO items (name, n) VALUES (?, ?)", "a", 1)
	if s.LastInsertID {
		id, err := res.LastInsertId()
		require.NoError(s, err)
		require.Equal(s, "a", s.value(tx, "SELECT name FROM items WHERE id = ?", id))
	}
	s.exec(tx, "INSERT INTO items (name, n) VALUES (?, ?)", "b", 2)
	require.Equal(s, "2", s.value(tx, "SELECT count(*) FROM items"), "inside")
	if !s.OneConn {
		require.Equal(s, "0", s.value(s.witness(), "SELECT count(*) FROM items"), "outside")
	}
	require.NoError(s, tx.Commit())
	require.Equal(s, "2", s.value(s.witness(), "SELECT count(*) FROM items"))
	require.Equal(s, sql.ErrTxDone, tx.Commit())
	require.Equal(s, sql.ErrTxDone, tx.Rollback())
}

func rolledBackTx(s *scene) {
	s.exec(s.db, "INSERT INTO items (name, n) VALUES (?, ?)", "before", 0)
	tx, err := s.db.Begin()
	require.NoError(s, err)
	s.exec(tx, "INSERT INTO items (name, n) VALUES (?, ?)", "a", 1)
	s.exec(tx, "DELETE FROM items WHERE n = 0")
	require.NoError(s, tx.Rollback())
	require.Equal(s, sql.ErrTxDone, tx.Commit())
	s.exec(s.db, "INSERT INTO items (name, n) VALUES (?, ?)", "after", 2)
	require.Equal(s, []string{"before", "after"}, s.column(s.witness(), "SELECT name FROM items ORDER BY n"))
}

func cancelledTx(s *scene) {
	for range 5 {
		ctx, cancel := context.WithCancel(background)
		tx, err := s.db.BeginTx(ctx, nil)
		require.NoError(s, err)
		s.exec(tx, "INSERT INTO items (name, n) VALUES (?, ?)", "cancelled", 1)
		cancel()
		require.Error(s, tx.Commit())
		// The next writer waits for the end of the transaction, and for nothing else.
		s.exec(s.db, "INSERT INTO entries (who, n) VALUES (1, 1)")
	}
	require.Equal(s, "0", s.value(s.witness(), "SELECT count(*) FROM items"))
	require.Equal(s, "5", s.value(s.witness(), "SELECT count(*) FROM entries"))
	tx, err := s.db.Begin()
	require.NoError(s, err)
	s.exec(tx, "INSERT INTO items (name, n) VALUES (?, ?)", "cancelled", 1)
	require.NoError(s, tx.Commit())
}

func txBesideGroups(s *scene) {
	s.crowd(12, func(who int) {
		for n := range 10 {
			if who%3 > 0 {
				_, err := s.db.Exec(s.q("INSERT INTO entries (who, n) VALUES (?, ?)"), who, n)
				assert.NoError(s, err)
				continue
			}
			tx, err := s.db.Begin()
			if !assert.NoError(s, err) {
				return
			}
			for part := range 3 {
				_, err = tx.Exec(s.q("INSERT INTO entries (who, n) VALUES (?, ?)"), who, n*3+part)
				assert.NoError(s, err)
			}
			if n%2 == 0 {
				assert.NoError(s, tx.Commit())
			} else {
				assert.NoError(s, tx.Rollback())
			}
		}
	})
	db := s.witness()
	require.Equal(s, "80", s.value(db, "SELECT count(*) FROM entries WHERE who % 3 > 0"))
	require.Equal(s, "60", s.value(db, "SELECT count(*) FROM entries WHERE who % 3 = 0 AND (n / 3) % 2 = 0"), "of committed transactions")
	require.Equal(s, "60", s.value(db, "SELECT count(*) FROM entries WHERE who % 3 = 0"), "of all transactions")
}

func preparedInTx(s *scene) {
	outer, err := s.db.Prepare(s.insert())
	require.NoError(s, err)
	defer outer.Close()
	tx, err := s.db.Begin()
	require.NoError(s, err)
	inner, err := tx.Prepare(s.q("SELECT count(*) FROM items WHERE n < ?"))
	require.NoError(s, err)
	mine := tx.Stmt(outer)
	for i := range 5 {
		_, err := mine.Exec(name(i), i)
		require.NoError(s, err)
		var rows int
		require.NoError(s, inner.QueryRow(100).Scan(&rows))
		require.Equal(s, i+1, rows)
	}
	require.NoError(s, tx.Rollback())
	_, err = mine.Exec("late", 1)
	require.Error(s, err)
	require.Equal(s, "0", s.value(s.witness(), "SELECT count(*) FROM items"))
	_, err = outer.Exec("free", 1)
	require.NoError(s, err)
	require.Equal(s, "free", s.value(s.witness(), "SELECT name FROM items"))
}

func txErrors(s *scene) {
	run := func(db *sql.DB) (errs []error) {
		s.exec(db, "INSERT INTO items (name, n) VALUES ('taken', 1)")
		for _, m := range s.mistakes() {
			tx, err := db.Begin()
			require.NoError(s, err)
			_, err = tx.Exec(m.query, m.args...)
			_, then := tx.Exec(s.insert(), "after "+m.what, 1)
			errs = append(errs, err, then, tx.Commit())
		}
		return errs
	}
	plain := s.twin()
	want, got := run(plain), run(s.db)
	for i := range want {
		s.sameError(want[i], got[i], "error %d of %q", i%3, s.mistakes()[i/3].what)
	}
	require.Equal(s, s.column(plain, "SELECT name FROM items ORDER BY name"), s.column(s.db, "SELECT name FROM items ORDER BY name"))
}

func readsWhileHeld(s *scene) {
	if s.OneConn {
		s.Skip("a transaction has the only connection")
	}
	s.exec(s.db, "INSERT INTO items (name, n) VALUES ('there', 1)")
	release := s.hold(s.db)
	var calls []*groupcommit.Promise
	for i := range 5 {
		calls = append(calls, groupcommit.Go(background, s.db, s.insert(), name(i), i))
	}
	ctx, cancel := context.WithTimeout(background, time.Minute)
	defer cancel()
	require.NoError(s, s.db.PingContext(ctx))
	var n int
	require.NoError(s, s.db.QueryRowContext(ctx, "SELECT count(*) FROM items").Scan(&n))
	require.Equal(s, 1, n)
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	require.NoError(s, err)
	require.NoError(s, tx.QueryRowContext(ctx, "SELECT count(*) FROM items").Scan(&n))
	require.Equal(s, 1, n)
	require.NoError(s, tx.Commit())
	release()
	for _, p := range calls {
		_, err := p.Await(background)
		require.NoError(s, err)
	}
	require.Equal(s, "6", s.value(s.witness(), "SELECT count(*) FROM items"))
}
