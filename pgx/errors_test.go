package pgx_test

import (
	"database/sql/driver"
	"errors"
	"runtime"
	"strconv"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

// bothModes tells a story for groups that share a transaction, and for those whose calls have one each.
func bothModes(t *testing.T, story func(t *testing.T, mode groupcommit.Option)) {
	for _, m := range []groupcommit.GroupMode{groupcommit.Transaction, groupcommit.Autocommit} {
		t.Run(m.String(), func(t *testing.T) { story(t, groupcommit.Mode(m)) })
	}
}

func TestAViolationInTheMiddleOfAGroupIsItsOwnCallersOnly(t *testing.T) {
	t.Parallel()
	bothModes(t, func(t *testing.T, mode groupcommit.Option) {
		r := setUp(t, mode)
		r.exec(r.plain, "INSERT INTO rows (k) VALUES (4)")
		got := r.together(inserts(0, 9)...)
		r.good(got, 4)
		require.IsType(r, &pgconn.PgError{}, got[4].err)
		r.sameError(insert(4), got[4].err)
		require.Equal(r, "9", r.value("SELECT count(*) FROM rows"))
	})
}

func TestEveryPlaceOfAViolationIsFound(t *testing.T) {
	t.Parallel()
	r := setUp(t)
	r.exec(r.plain, "INSERT INTO rows (k) VALUES (-1)")
	for bad := range 3 {
		calls := inserts(bad*10, 3)
		calls[bad] = insert(-1)
		got := r.together(calls...)
		r.good(got, bad)
		require.Equal(r, "23505", sqlState(got[bad].err))
	}
}

func TestSeveralViolationsInAGroupAreEachTheirOwnCallers(t *testing.T) {
	t.Parallel()
	bothModes(t, func(t *testing.T, mode groupcommit.Option) {
		r := setUp(t, mode)
		for _, k := range []int{0, 3, 4, 9} {
			r.exec(r.plain, "INSERT INTO rows (k) VALUES ($1)", k)
		}
		got := r.together(inserts(0, 10)...)
		r.good(got, 0, 3, 4, 9)
		for _, k := range []int{0, 3, 4, 9} {
			r.sameError(insert(k), got[k].err)
		}
		require.Equal(r, "10", r.value("SELECT count(*) FROM rows"))
	})
}

func TestAGroupInWhichEveryCallFailsLeavesNothingAndHurtsNobody(t *testing.T) {
	t.Parallel()
	bothModes(t, func(t *testing.T, mode groupcommit.Option) {
		r := setUp(t, mode)
		r.db.SetMaxIdleConns(10) // or else the program's own pool gives them up
		r.exec(r.plain, "INSERT INTO rows (k) VALUES (1)")
		for range 3 {
			for _, a := range r.together(insert(1), insert(1), insert(1), insert(1)) {
				require.Equal(r, "23505", sqlState(a.err))
			}
		}
		r.good(r.together(inserts(2, 3)...))
		require.Zero(r, r.stats().Leased.MaxIdleClosed+r.stats().Leased.MaxLifetimeClosed, "connections that were given up")
		require.Zero(r, r.stats().Leased.InUse)
	})
}

// unconvertible is a type that pgx does not know.
type unconvertible struct{ _ chan int }

func TestWhatCannotBeSaidIsItsOwnCallersOnly(t *testing.T) {
	t.Parallel()
	bothModes(t, func(t *testing.T, mode groupcommit.Option) {
		r := setUp(t, mode)
		bad := []call{
			{"INSERT INTO nothing (k) VALUES ($1)", []any{1}},
			{"INSERT INTO rows (k) VALUES ($1", []any{1}},
			{"INSERT INTO rows (k) VALUES (1 / 0)", nil},
			{"INSERT INTO rows (k) VALUES ($1)", nil},
			{"DELETE FROM nothing", nil},
			insertOf("no number"),
			insertOf(unconvertible{}),
			{"INSERT INTO rows (k, v) VALUES ($1, $2)", []any{1}},
			{"INSERT INTO rows (k, v) VALUES ($1, $2)", []any{1, "a", "b"}},
			{"INSERT INTO rows (k, v) VALUES ($1, $2)", []any{1, "a zero \x00 byte"}},
			{"UPDATE rows SET k = $1::int / $2::int", []any{1, 0}},
		}
		for i, b := range bad {
			got := r.together(logged(i), b, logged(i))
			r.sameError(b, got[1].err)
			r.good(got, 1)
		}
		var all []call
		for i, b := range bad {
			all = append(all, b, logged(100+i))
		}
		for i, a := range r.together(all...) {
			if i%2 == 1 {
				require.Equal(r, answer{rows: 1}, a)
			} else {
				r.sameError(all[i], a.err)
			}
		}
		require.Equal(r, "0", r.value("SELECT count(*) FROM rows"))
		require.Equal(r, strconv.Itoa(3*len(bad)), r.value("SELECT count(*) FROM log"))
	})
}

func insertOf(k any) call { return call{"INSERT INTO rows (k) VALUES ($1)", []any{k}} }

// bomb is a Valuer that panics.
type bomb struct{ with any }

func (b bomb) Value() (driver.Value, error) { panic(b.with) }

func TestAPanicInAGroupIsItsOwnCallersOnly(t *testing.T) {
	t.Parallel()
	bothModes(t, func(t *testing.T, mode groupcommit.Option) {
		r := setUp(t, mode)
		reason := errors.New("the valuer panics")
		release := r.hold()
		panicked := make(chan any)
		go func() {
			defer func() { panicked <- recover() }()
			r.do(insertOf(bomb{reason}))
		}()
		r.queued(1)
		promise := groupcommit.Go(background, r.db, "INSERT INTO rows (k) VALUES ($1)", bomb{reason})
		good := groupcommit.Go(background, r.db, "INSERT INTO rows (k) VALUES ($1)", 1)
		release()
		require.Equal(r, reason, bounded.Receive(t, "the call has panicked", panicked))
		_, err := promise.Await(background)
		require.ErrorIs(r, err, reason)
		_, err = good.Await(background)
		require.NoError(r, err)
		require.Equal(r, "1", r.value("SELECT count(*) FROM rows"))
	})
}

// ender is a Valuer that ends its goroutine.
type ender struct{}

func (ender) Value() (driver.Value, error) {
	runtime.Goexit()
	return nil, nil
}

func TestAnArgumentThatEndsItsGoroutineEndsItsOwnCallersOnly(t *testing.T) {
	t.Parallel()
	for _, way := range []struct {
		mode groupcommit.GroupMode
		exec string
	}{{groupcommit.Transaction, "cache_statement"}, {groupcommit.Autocommit, "cache_statement"}, {groupcommit.Transaction, "simple_protocol"}} {
		t.Run(way.mode.String()+"/"+way.exec, func(t *testing.T) {
			t.Parallel()
			r := setUpOn(t, pgtest.DSN(t), []pgtest.DSNOption{pgtest.Param("default_query_exec_mode", way.exec)}, groupcommit.Mode(way.mode))
			release := r.hold()
			ends := make([]chan bool, 4)
			for i := range ends {
				ends[i] = make(chan bool, 1)
				go func() {
					returned := false
					defer func() { ends[i] <- returned }()
					if i == 2 {
						r.do(insertOf(ender{}))
					} else if a := r.do(insert(i)); a != (answer{rows: 1}) {
						t.Error(i, a)
					}
					returned = true
				}()
				r.queued(i + 1)
			}
			release()
			for i, end := range ends {
				require.Equal(t, i != 2, bounded.Receive(t, "the caller's end", end), "call %d has returned", i)
			}
			require.Equal(r, "3", r.value("SELECT count(*) FROM rows"))
		})
	}
}

func TestADeferredConstraintIsItsOwnCallersAffair(t *testing.T) {
	t.Parallel()
	bothModes(t, func(t *testing.T, mode groupcommit.Option) {
		r := setUp(t, mode)
		r.exec(r.plain, "CREATE TABLE child (k BIGINT REFERENCES rows DEFERRABLE INITIALLY DEFERRED)")
		r.exec(r.plain, "INSERT INTO rows (k) VALUES (1)")
		child := func(k int) call { return call{"INSERT INTO child (k) VALUES ($1)", []any{k}} }
		// The parent that comes later in the same group does not heal it: alone it would have failed.
		got := r.together(child(1), child(2), insert(2), child(1))
		r.good(got, 1)
		require.Contains(r, []string{"23503", ""}, sqlState(got[1].err))
		if got[1].err != nil { // it ran before the parent's commit, or after it
			require.ErrorContains(r, got[1].err, "violates foreign key constraint")
		}
		got = r.together(child(1), child(7), child(1))
		r.good(got, 1)
		r.sameError(child(7), got[1].err)
		got = r.together(child(7), child(1), child(8), child(9), child(1))
		r.good(got, 0, 2, 3)
		r.sameError(child(9), got[3].err)
	})
}

func TestWhatFailsAtCommitIsItsOwnCallersOnly(t *testing.T) {
	t.Parallel()
	bothModes(t, func(t *testing.T, mode groupcommit.Option) {
		r := setUp(t, mode)
		r.exec(r.plain, `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN
				IF NEW.v = 'now' THEN
					SET CONSTRAINTS later DEFERRED; -- what the group's SET CONSTRAINTS did is undone
				ELSIF NEW.v = 'bad' THEN
					RAISE EXCEPTION 'not %', NEW.k;
				END IF;
				RETURN NEW;
			END $$`)
		r.exec(r.plain, "CREATE TRIGGER now BEFORE INSERT ON rows FOR EACH ROW WHEN (NEW.v = 'now') EXECUTE FUNCTION refuse()")
		r.exec(r.plain, "CREATE CONSTRAINT TRIGGER later AFTER INSERT ON rows DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()")
		of := func(k int, v string) call { return call{"INSERT INTO rows (k, v) VALUES ($1, $2)", []any{k, v}} }
		got := r.together(of(1, "x"), of(2, "bad"), of(3, "x"))
		r.good(got, 1)
		r.sameError(of(2, "bad"), got[1].err)
		got = r.together(of(4, "now"), of(5, "x"), of(6, "bad"), of(7, "x")) // COMMIT itself fails
		r.good(got, 2)
		r.sameError(of(6, "bad"), got[2].err)
		r.good(r.together(of(8, "x"), of(9, "x")))
		require.Equal(r, "7", r.value("SELECT count(*) FROM rows"))
	})
}

func TestARoleWithoutRightsIsRefusedAsByThePlainDriver(t *testing.T) {
	t.Parallel()
	bothModes(t, func(t *testing.T, mode groupcommit.Option) {
		dsn := pgtest.DSN(t)
		r := setUpOn(t, dsn, []pgtest.DSNOption{pgtest.Param("options", "-crole=pg_monitor")}, mode)
		r.exec(r.plain, "GRANT INSERT, DELETE, SELECT ON log TO pg_monitor")
		weak := r.open("pgx", pgtest.With(dsn, pgtest.Param("options", "-crole=pg_monitor")))
		_, want := weak.Exec(insert(1).query, insert(1).args...)
		require.Error(r, want)
		got := r.together(logged(1), insert(1), logged(2), insert(2))
		r.good(got, 1, 3)
		require.EqualError(r, got[1].err, want.Error())
		require.EqualError(r, got[3].err, want.Error())
		require.Equal(r, "42501", sqlState(got[3].err))
	})
}
