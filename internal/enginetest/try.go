package enginetest

import (
	"context"
	"database/sql"
	"fmt"
	"sync"

	"github.com/groupcommit/groupcommit"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var tryStories = []story{
	{"TryUndoesOneCommandAndRejectsIt", tryOne},
	{"TryTriesACommandAgainByItself", tryAgain},
	{"EachNeedsNoBatchCode", eachCommand},
	{"ManyFailingCommandsCostTheirNeighboursNothing", manyFail},
	{"ATryThatFailsIsItsCommandsLast", tryTwice},
	{"WhatIsDoneOutsideOfTryIsDoneOnce", tryAndMore},
	{"AHandlerThatIgnoresTryCommitsNoHalf", ignoredTry},
	{"ATryWithinATryIsAnError", nestedTry},
	{"ATryAfterANeighboursKnowsNothingOfTheFirst", tryForgets},
}

// unique is a handler that inserts items with unique names, each alone.
func (s *scene) unique(g *gate) groupcommit.Handler[put, int] {
	return func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[put, int]) error {
		g.pass()
		for _, c := range batch {
			err := c.Try(func() (int, error) {
				if err := s.putInto(tx, ctx, c.Value.N); err != nil {
					return 0, err
				}
				_, err := tx.ExecContext(ctx, s.insert(), fmt.Sprint(c.Value.N%10), 1)
				return c.Value.N, err
			})
			if err != nil {
				return err
			}
		}
		return nil
	}
}

func tryOne(s *scene) {
	plain := s.twin()
	s.exec(plain, s.insert(), "1", 1)
	_, want := plain.Exec(s.insert(), "1", 1)
	g := s.newGate()
	cs := handle(s, s.db, s.unique(g))
	for i, p := range oneBatch(s, g, cs, "", 1, 11, 2, 21, 3) {
		r, err := p.Await(background)
		if i == 1 || i == 3 {
			s.sameError(want, err)
			continue
		}
		require.NoError(s, err)
		require.Equal(s, []int{1, 0, 2, 0, 3}[i], r)
	}
	require.Equal(s, []string{"-1", "1", "2", "3"}, s.entries(s.db))
}

func tryAgain(s *scene) {
	g := s.newGate()
	var mu sync.Mutex
	tries := map[int][]int{} // of the failing one: how large its batches were
	cs := handle(s, s.db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[put, int]) error {
		g.pass()
		for _, c := range batch {
			err := c.Try(func() (int, error) {
				mu.Lock()
				defer mu.Unlock()
				if err := s.putInto(tx, ctx, c.Value.N); err != nil {
					return 0, err
				}
				if c.Value.N == 2 || c.Value.N == 3 {
					tries[c.Value.N] = append(tries[c.Value.N], len(batch))
				}
				switch {
				case c.Value.N == 2 && len(tries[2]) < 4:
					return 0, errBusiness
				case c.Value.N == 3:
					panic(errBusiness)
				}
				return len(tries[2]), nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	}, groupcommit.Retry(groupcommit.Constant(0, 3)))
	promises := oneBatch(s, g, cs, "", 1, 2, 3, 4)
	for i, p := range promises {
		r, err := p.Await(background)
		switch i {
		case 1:
			require.NoError(s, err)
			require.Equal(s, 4, r)
		case 2:
			require.ErrorIs(s, err, errBusiness)
			require.ErrorAs(s, err, new(*groupcommit.PanicError))
		default:
			require.NoError(s, err)
		}
	}
	require.Equal(s, []int{1, 1, 1}, tries[2][1:], "by itself")
	require.Equal(s, []string{"-1", "1", "2", "4"}, s.entries(s.db))
}

func eachCommand(s *scene) {
	cs := handle(s, s.db, groupcommit.Each(func(ctx context.Context, tx *sql.Tx, v put) (int, error) {
		assert.Empty(s, groupcommit.CommandID(ctx))
		if v.N == 3 {
			return 0, errBusiness
		}
		return 2 * v.N, s.putInto(tx, ctx, v.N)
	}), groupcommit.Retry(groupcommit.Never))
	s.crowd(20, func(i int) {
		r, err := cs.Do(background, "", put{i})
		if i == 3 {
			assert.Same(s, errBusiness, err)
			return
		}
		assert.NoError(s, err)
		assert.Equal(s, 2*i, r)
	})
	require.Len(s, s.entries(s.db), 19)
}

func manyFail(s *scene) {
	g := s.newGate()
	cs := handle(s, s.db, s.unique(g))
	var values []int
	for i := range 40 {
		values = append(values, i)
	}
	failed := 0
	for _, p := range oneBatch(s, g, cs, "", values...) {
		if _, err := p.Await(background); err != nil {
			require.True(s, s.NativeError(err), "%v", err)
			failed++
		}
	}
	require.Equal(s, 30, failed, "there is room for ten")
	require.Len(s, s.entries(s.db), 11)
	require.Equal(s, "11", s.value(s.db, "SELECT count(*) FROM items"))
}

func tryTwice(s *scene) {
	for _, fail := range []func(tx *sql.Tx, ctx context.Context) error{
		func(*sql.Tx, context.Context) error { return errBusiness },
		func(tx *sql.Tx, ctx context.Context) error {
			_, err := tx.ExecContext(ctx, s.q("INSERT INTO held (n) VALUES (?)"), 1)
			return err
		},
	} {
		db := s.openWith()
		s.exec(db, "INSERT INTO held (n) VALUES (1)")
		g := s.newGate()
		cs := handle(s, db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[put, int]) error {
			g.pass()
			for stage := range 3 {
				for _, c := range batch {
					err := c.Try(func() (int, error) {
						if c.Value.N == 2 && stage < 2 {
							return 0, fail(tx, ctx)
						}
						return stage, s.putInto(tx, ctx, 10*c.Value.N+stage)
					})
					if err != nil {
						return err
					}
				}
			}
			return nil
		}, groupcommit.Retry(groupcommit.Never))
		for i, p := range oneBatch(s, g, cs, "", 1, 2, 3) {
			r, err := p.Await(background)
			if i == 1 {
				require.Error(s, err)
				require.Zero(s, r)
				continue
			}
			require.NoError(s, err)
			require.Equal(s, 2, r)
		}
		require.Equal(s, []string{"-10", "-9", "-8", "10", "11", "12", "30", "31", "32"}, s.entries(db))
	}
}

// tryAndMore is a handler that writes for all with one statement, and then tries each alone.
func tryAndMore(s *scene) {
	g := s.newGate()
	var mu sync.Mutex
	failed := 0
	cs := handle(s, s.db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[put, int]) error {
		g.pass()
		for _, c := range batch { // as one statement would
			if err := s.putInto(tx, ctx, c.Value.N); err != nil {
				return err
			}
		}
		for _, c := range batch {
			err := c.Try(func() (int, error) {
				mu.Lock()
				defer mu.Unlock()
				if c.Value.N == 2 && failed < 2 {
					failed++
					return 0, errBusiness
				}
				return 1, nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	}, groupcommit.Retry(groupcommit.Constant(0, 5)))
	for _, p := range oneBatch(s, g, cs, "", 1, 2, 3) {
		_, err := p.Await(background)
		require.NoError(s, err)
	}
	require.Equal(s, []string{"-1", "1", "2", "3"}, s.entries(s.db))
}

func ignoredTry(s *scene) {
	for _, values := range [][]int{{2}, {1, 2, 3}} {
		db := s.openWith()
		g := s.newGate()
		cs := handle(s, db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[put, int]) error {
			g.pass()
			for _, c := range batch {
				c.Try(func() (int, error) {
					if err := s.putInto(tx, ctx, c.Value.N); err != nil {
						return 0, err
					}
					if c.Value.N == 2 {
						return 0, errBusiness
					}
					return 1, nil
				})
			}
			return nil
		}, groupcommit.Retry(groupcommit.Never))
		for i, p := range oneBatch(s, g, cs, "", values...) {
			_, err := p.Await(background)
			if values[i] == 2 {
				require.Same(s, errBusiness, err)
				continue
			}
			require.NoError(s, err)
		}
		require.NotContains(s, s.entries(db), "2")
		require.Len(s, s.entries(db), len(values)) // and the plug
	}
}

func nestedTry(s *scene) {
	cs := handle(s, s.db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[put, int]) error {
		c := batch[0]
		return c.Try(func() (int, error) {
			return 1, c.Try(func() (int, error) { return 2, nil })
		})
	}, groupcommit.Retry(groupcommit.Never))
	_, err := cs.Do(background, "", put{1})
	require.ErrorContains(s, err, "within another Try")
}

// tryForgets is a batch that runs again without its culprit: the first run's answers for the others are void.
func tryForgets(s *scene) {
	g := s.newGate()
	runs := 0
	cs := handle(s, s.db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[put, int]) error {
		g.pass()
		if len(batch) < 2 {
			return batch[0].Try(func() (int, error) { return 0, nil })
		}
		if runs++; runs == 1 {
			batch[0].Reject(errBusiness)
			batch[1].Resolve(7)
			return batch[2].Try(func() (int, error) { return 0, errBusiness })
		}
		return nil
	}, groupcommit.Retry(groupcommit.Never))
	for _, p := range oneBatch(s, g, cs, "", 1, 2, 3) {
		r, err := p.Await(background)
		require.NoError(s, err)
		require.Zero(s, r)
	}
	require.Equal(s, 2, runs)
}
