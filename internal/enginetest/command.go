package enginetest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var commandStories = []story{
	{"ABatchIsOneTransactionAndEachCommandHasItsOwnResult", batchOfCommands},
	{"ABatchHoldsAtMostMaxLenAndAsMuch", batchesAreFull},
	{"WhatAHandlerDoesNotTouchIsResolvedWithTheZeroValue", untouchedCommands},
	{"ARejectedCommandDoesNotUndoItsNeighbours", rejectedCommand},
	{"BatchesOfOneTypeComeOneAfterTheOther", oneBatchAtATime},
	{"WhatAHandlerDoesToItsSessionEndsWithIt", handlersSession},
	{"ACodecMayUseItsBufferAgain", codecWithOneBuffer},
	{"BadHandlersAndOptionsAreErrors", badHandlers},
	{"SeveralTypesOfCommandsShareADatabase", severalTypes},
	{"AContextTakesBackACommandThatIsInNoBatch", commandContext},
	{"ClosingTheDatabaseAnswersEveryCommand", closeWithCommands},
	{"AHandlerThatWaitsForItselfIsAnError", handlerWaitsForItself},
}

type put struct{ N int }

func (s *scene) putInto(tx *sql.Tx, ctx context.Context, n int) error {
	_, err := tx.ExecContext(ctx, s.q("INSERT INTO entries (who, n) VALUES (1, ?)"), n)
	return err
}

// promising is the scene's database, opened so that it keeps promises; again opens it once more. One that lives in its
// connection is a new one each time.
func (s *scene) promising() (db *sql.DB, again func() *sql.DB) {
	s.Helper()
	name := fmt.Sprintf("%s-enginetest-%d", s.Ours, names.Add(1))
	groupcommit.Register(name, s.open(s.Plain, s.dsn).Driver(), groupcommit.Promises())
	db = s.open(name, s.dsn)
	if s.OneConn {
		s.create(db)
	}
	return db, func() *sql.DB { return s.open(name, s.dsn) }
}

func (s *scene) entries(db *sql.DB) []string {
	s.Helper()
	return s.column(db, "SELECT n FROM entries ORDER BY n")
}

// gate keeps a handler's first batch back, so that the commands that come meanwhile are one batch.
type gate struct {
	once    sync.Once
	entered chan struct{}
	opened  chan struct{}
	open    func()
}

// newGate is opened when the story ends, too: closing the database waits for the handler.
func (s *scene) newGate() *gate {
	g := &gate{entered: make(chan struct{}), opened: make(chan struct{})}
	g.open = sync.OnceFunc(func() { close(g.opened) })
	s.Cleanup(g.open)
	return g
}

func (g *gate) pass() {
	g.once.Do(func() {
		close(g.entered)
		<-g.opened
	})
}

// reached waits until a batch is at the gate.
func (s *scene) reached(g *gate) {
	s.Helper()
	bounded.Receive(s, "the handler has its first batch", g.entered)
}

// oneBatch has commands queue up behind one of value -1, and returns their promises, all in one batch.
func oneBatch[R any](s *scene, g *gate, cs *groupcommit.Commands[put, R], id string, values ...int) []*groupcommit.PromiseOf[R] {
	s.Helper()
	first := cs.Go(background, "", put{-1})
	s.reached(g)
	var promises []*groupcommit.PromiseOf[R]
	for _, n := range values {
		own := ""
		if id != "" {
			own = fmt.Sprint(id, n)
		}
		promises = append(promises, cs.Go(background, own, put{n}))
	}
	bounded.Until(s, fmt.Sprintf("%d commands are queued", len(values)), func() bool { return cs.Stats().Queued == len(values) })
	g.open()
	_, err := first.Await(background)
	require.NoError(s, err)
	return promises
}

func handle[R any](s *scene, db *sql.DB, h groupcommit.Handler[put, R], opts ...groupcommit.HandlerOption) *groupcommit.Commands[put, R] {
	s.Helper()
	cs, err := groupcommit.Handle(db, h, opts...)
	require.NoError(s, err)
	return cs
}

func batchOfCommands(s *scene) {
	g := s.newGate()
	var batches [][]int
	cs := handle(s, s.db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[put, string]) error {
		g.pass()
		var ns []int
		for _, c := range batch {
			if err := s.putInto(tx, ctx, c.Value.N); err != nil {
				return err
			}
			c.Resolve(fmt.Sprint("result ", c.Value.N))
			ns = append(ns, c.Value.N)
		}
		batches = append(batches, ns)
		return nil
	})
	for i, p := range oneBatch(s, g, cs, "", 0, 1, 2, 3) {
		r, err := p.Await(background)
		require.NoError(s, err)
		require.Equal(s, fmt.Sprint("result ", i), r)
		require.Equal(s, durable.Resolved, p.State())
	}
	require.Equal(s, [][]int{{-1}, {0, 1, 2, 3}}, batches)
	require.Equal(s, []string{"-1", "0", "1", "2", "3"}, s.entries(s.db))
	r, err := cs.Do(background, "", put{7})
	require.NoError(s, err)
	require.Equal(s, "result 7", r)
}

func batchesAreFull(s *scene) {
	g := s.newGate()
	var sizes []int
	cs := handle(s, s.db, func(_ context.Context, _ *sql.Tx, batch []*groupcommit.Command[put, int]) error {
		g.pass()
		sizes = append(sizes, len(batch))
		return nil
	}, groupcommit.MaxLen(10))
	values := make([]int, 25)
	for _, p := range oneBatch(s, g, cs, "", values...) {
		_, err := p.Await(background)
		require.NoError(s, err)
	}
	require.Equal(s, []int{1, 10, 10, 5}, sizes)
}

func untouchedCommands(s *scene) {
	cs := handle(s, s.db, func(context.Context, *sql.Tx, []*groupcommit.Command[put, *int]) error { return nil })
	r, err := cs.Do(background, "", put{1})
	require.NoError(s, err)
	require.Nil(s, r)
}

var errBusiness = errors.New("not today: \x00 ä")

func rejectedCommand(s *scene) {
	g := s.newGate()
	cs := handle(s, s.db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[put, int]) error {
		g.pass()
		for _, c := range batch {
			if err := s.putInto(tx, ctx, c.Value.N); err != nil {
				return err
			}
			if c.Value.N == 2 {
				c.Reject(errBusiness)
			}
		}
		return nil
	})
	for i, p := range oneBatch(s, g, cs, "", 1, 2, 3) {
		_, err := p.Await(background)
		if i == 1 {
			require.Same(s, errBusiness, err)
			require.Equal(s, durable.Rejected, p.State())
			continue
		}
		require.NoError(s, err)
	}
	require.Equal(s, []string{"-1", "1", "2", "3"}, s.entries(s.db))
}

func oneBatchAtATime(s *scene) {
	var under, most atomic.Int32
	cs := handle(s, s.db, groupcommit.Each(func(ctx context.Context, tx *sql.Tx, v put) (int, error) {
		most.Store(max(most.Load(), under.Add(1)))
		defer under.Add(-1)
		if err := s.putInto(tx, ctx, v.N); err != nil {
			return 0, err
		}
		if v.N%4 == 0 {
			return 0, errBusiness
		}
		return v.N, nil
	}), groupcommit.MaxLen(5), groupcommit.Retry(groupcommit.Constant(0, 2)))
	s.crowd(40, func(i int) {
		if _, err := cs.Do(background, "", put{i}); i%4 == 0 {
			assert.Same(s, errBusiness, err)
		} else {
			assert.NoError(s, err)
		}
	})
	require.EqualValues(s, 1, most.Load())
	require.Len(s, s.entries(s.db), 30)
}

func handlersSession(s *scene) {
	db := s.openWith(groupcommit.Physical(1))
	cs := handle(s, db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[put, int]) error {
		_, err := tx.ExecContext(ctx, "CREATE TEMP TABLE mine (n BIGINT)")
		return err
	})
	for i := range 3 {
		_, err := cs.Do(background, "", put{i})
		if s.OneConn && i > 0 { // there all share the connection
			require.Error(s, err)
			continue
		}
		require.NoError(s, err)
		require.Empty(s, s.entries(db))
	}
}

func severalTypes(s *scene) {
	db, _ := s.promising()
	puts := handle(s, db, groupcommit.Each(func(ctx context.Context, tx *sql.Tx, v put) (int, error) {
		assert.Equal(s, fmt.Sprint("put ", v.N), groupcommit.CommandID(ctx))
		return v.N, s.putInto(tx, ctx, v.N)
	}))
	items := handle2(s, db, groupcommit.Each(func(ctx context.Context, tx *sql.Tx, v name2) (int, error) {
		_, err := tx.ExecContext(ctx, s.insert(), string(v), 1)
		return 0, err
	}))
	s.crowd(60, func(i int) {
		var err error
		switch i % 3 {
		case 0:
			_, err = puts.Do(background, fmt.Sprint("put ", i), put{i})
		case 1:
			_, err = items.Do(background, "", name2(name(i)))
		default:
			_, err = db.ExecContext(background, s.q("INSERT INTO entries (who, n) VALUES (2, ?)"), i)
		}
		assert.NoError(s, err)
	})
	require.Len(s, s.entries(db), 40)
	require.Equal(s, "20", s.value(db, "SELECT count(*) FROM items"))
}

func commandContext(s *scene) {
	g := s.newGate()
	var handled atomic.Int32
	cs := handle(s, s.db, func(context.Context, *sql.Tx, []*groupcommit.Command[put, int]) error {
		g.pass()
		handled.Add(1)
		return nil
	})
	first := cs.Go(background, "", put{1})
	s.reached(g)
	ctx, cancel := context.WithCancel(background)
	p := cs.Go(ctx, "", put{2})
	cancel()
	_, err := p.Await(background)
	require.ErrorIs(s, err, context.Canceled)
	require.Equal(s, durable.RejectedCanceled, p.State())
	_, err = first.Await(ctx)
	require.ErrorIs(s, err, context.Canceled, "the waiting has ended")
	g.open()
	_, err = first.Await(background)
	require.NoError(s, err)
	require.EqualValues(s, 1, handled.Load())
}

func closeWithCommands(s *scene) {
	db := s.openWith()
	g := s.newGate()
	cs := handle(s, db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[put, int]) error {
		g.pass()
		for _, c := range batch {
			c.Resolve(c.Value.N)
		}
		return nil
	}, groupcommit.MaxLen(7))
	var promises []*groupcommit.PromiseOf[int]
	for i := range 100 {
		promises = append(promises, cs.Go(background, "", put{i}))
	}
	s.reached(g)
	closed := make(chan error)
	go func() { closed <- db.Close() }()
	g.open()
	for i, p := range promises {
		r, err := p.Await(background)
		require.NoError(s, err)
		require.Equal(s, i, r)
	}
	require.NoError(s, bounded.Receive(s, "the database is closed", closed))
	_, err := cs.Do(background, "", put{1})
	require.ErrorIs(s, err, groupcommit.ErrClosed)
}

func handlerWaitsForItself(s *scene) {
	var cs *groupcommit.Commands[put, int]
	var later *groupcommit.PromiseOf[int]
	cs = handle(s, s.db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[put, int]) error {
		if batch[0].Value.N == 1 {
			later = cs.Go(ctx, "", put{2})
			_, err := cs.Do(ctx, "", put{3})
			return err
		}
		return nil
	}, groupcommit.Retry(groupcommit.Never))
	_, err := cs.Do(background, "", put{1})
	require.ErrorContains(s, err, "must not wait for a command of its own database")
	_, err = later.Await(background)
	require.NoError(s, err)
}
