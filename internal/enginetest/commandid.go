package enginetest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/durable"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var commandIDStories = []story{
	{"ASettledIDIsNotHandledAgain", settledID},
	{"ARejectionIsReplayed", rejectionIsReplayed},
	{"AnIDOfAnotherValueIsAMismatch", commandMismatch},
	{"AnIDStaysItsOwnersWhileAnotherRequestWithItIsUnderWay", ownersID},
	{"OneIDAtOnceIsHandledOnce", oneIDAtOnce},
	{"AnErrorOfTheHandlerIsNotRecorded", errorNotRecorded},
	{"WhatCannotBeEncodedIsRejectedAndTheRestGoesOn", unencodable},
}

func counting(s *scene, handled *atomic.Int32) groupcommit.Handler[put, string] {
	return func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[put, string]) error {
		for _, c := range batch {
			handled.Add(1)
			if err := s.putInto(tx, ctx, c.Value.N); err != nil {
				return err
			}
			if c.Value.N < 0 {
				c.Reject(errBusiness)
				continue
			}
			c.Resolve(fmt.Sprint("result ", c.Value.N))
		}
		return nil
	}
}

func settledID(s *scene) {
	db, again := s.promising()
	var handled atomic.Int32
	cs := handle(s, db, counting(s, &handled))
	p := cs.Go(background, "seven", put{7})
	r, err := p.Await(background)
	require.NoError(s, err)
	require.Equal(s, "result 7", r)
	require.False(s, p.Deduplicated())
	if !s.OneConn {
		db = again()
		cs = handle(s, db, counting(s, &handled))
	}
	for range 2 {
		p := cs.Go(background, "seven", put{7})
		r, err := p.Await(background)
		require.NoError(s, err)
		require.Equal(s, "result 7", r)
		require.True(s, p.Deduplicated())
		require.Equal(s, "seven", p.ID())
	}
	require.EqualValues(s, 1, handled.Load())
	require.Equal(s, []string{"7"}, s.entries(db))
	found, err := groupcommit.Lookup(background, db, "seven")
	require.NoError(s, err)
	require.Equal(s, durable.Resolved, found.State)
	require.JSONEq(s, `"result 7"`, string(found.Value.Data))
}

func rejectionIsReplayed(s *scene) {
	db, _ := s.promising()
	var handled atomic.Int32
	cs := handle(s, db, counting(s, &handled))
	_, err := cs.Do(background, "bad", put{-3})
	require.Same(s, errBusiness, err)
	_, err = cs.Do(background, "bad", put{-3})
	var r *groupcommit.RejectedError
	require.ErrorAs(s, err, &r)
	require.Equal(s, []any{"bad", durable.Rejected, strings.ToValidUTF8(errBusiness.Error(), "")}, []any{r.ID, r.State, r.Message})
	require.EqualValues(s, 1, handled.Load())

	unique := handle2(s, db, groupcommit.Each(func(ctx context.Context, tx *sql.Tx, v name2) (int, error) {
		_, err := tx.ExecContext(ctx, s.insert(), string(v), 1)
		return 0, err
	}))
	_, err = unique.Do(background, "", "a")
	require.NoError(s, err)
	_, err = unique.Do(background, "dup", "a")
	require.True(s, s.NativeError(err), "%v", err)
	first := err
	_, err = unique.Do(background, "dup", "a")
	require.ErrorAs(s, err, &r)
	require.Equal(s, first.Error(), r.Message)
	require.NotEmpty(s, r.Code)
}

func commandMismatch(s *scene) {
	db, _ := s.promising()
	var handled atomic.Int32
	cs := handle(s, db, counting(s, &handled))
	_, err := cs.Do(background, "x", put{1})
	require.NoError(s, err)
	_, err = cs.Do(background, "x", put{2})
	require.ErrorIs(s, err, groupcommit.ErrMismatch)
	_, err = db.ExecContext(groupcommit.WithID(background, "x"), s.q("INSERT INTO entries (who, n) VALUES (1, ?)"), 1)
	require.ErrorIs(s, err, groupcommit.ErrMismatch, "an Exec is no command")
	others := handle2(s, db, groupcommit.Each(func(context.Context, *sql.Tx, name2) (int, error) { return 0, nil }))
	_, err = others.Do(background, "x", "1")
	require.ErrorIs(s, err, groupcommit.ErrMismatch)
	require.Equal(s, []string{"1"}, s.entries(db))
}

// Another program has used the ids. This one comes with other requests first, which have yet to find out.
func ownersID(s *scene) {
	if s.OneConn {
		s.Skip("another program has another database")
	}
	db, again := s.promising()
	l := new(log)
	insert := s.q("INSERT INTO entries (who, n) VALUES (1, ?)")
	_, err := db.ExecContext(groupcommit.WithID(background, "exec"), insert, 1)
	require.NoError(s, err)
	_, err = handle(s, db, s.putting(l)).Do(background, "command", put{2})
	require.NoError(s, err)

	db = again()
	g := s.newGate()
	cs := handle(s, db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[put, string]) error {
		g.pass()
		return s.putting(l)(ctx, tx, batch)
	})
	first := cs.Go(background, "", put{3})
	s.reached(g)
	var others []*groupcommit.PromiseOf[string]
	for _, id := range []string{"exec", "command", "new"} {
		others = append(others, cs.Go(background, id, put{4}))
	}
	res, err := db.ExecContext(groupcommit.WithID(background, "exec"), insert, 1)
	require.NoError(s, err)
	require.True(s, groupcommit.Deduplicated(res))
	p := groupcommit.Go(groupcommit.WithID(background, "exec"), db, insert, 1)
	_, err = p.Await(background)
	require.NoError(s, err)
	require.True(s, p.Deduplicated())
	r, err := cs.Do(background, "command", put{2})
	require.NoError(s, err)
	require.Equal(s, "result 2", r)
	for _, id := range []string{"exec", "command", "new"} {
		_, err = db.ExecContext(groupcommit.WithID(background, id), insert, 5)
		require.ErrorIs(s, err, groupcommit.ErrMismatch)
		_, err = groupcommit.Go(groupcommit.WithID(background, id), db, insert, 5).Await(background)
		require.ErrorIs(s, err, groupcommit.ErrMismatch)
		_, err = cs.Do(background, id, put{5})
		require.ErrorIs(s, err, groupcommit.ErrMismatch)
	}
	g.open()
	for i, p := range others {
		_, err := p.Await(background)
		require.Equal(s, i < 2, errors.Is(err, groupcommit.ErrMismatch), "%d: %v", i, err)
	}
	_, err = first.Await(background)
	require.NoError(s, err)
	require.Equal(s, []string{"1", "2", "3", "4"}, s.entries(db))
}

func oneIDAtOnce(s *scene) {
	db, _ := s.promising()
	var handled atomic.Int32
	cs := handle(s, db, counting(s, &handled))
	s.crowd(50, func(i int) {
		r, err := cs.Do(background, fmt.Sprint("id ", i%5), put{i % 5})
		assert.NoError(s, err)
		assert.Equal(s, fmt.Sprint("result ", i%5), r)
	})
	require.EqualValues(s, 5, handled.Load())
	require.Len(s, s.entries(db), 5)
}

func errorNotRecorded(s *scene) {
	db, _ := s.promising()
	fail := true
	cs := handle(s, db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[put, int]) error {
		if err := s.putInto(tx, ctx, 1); err != nil || !fail {
			return err
		}
		return errBusiness
	}, groupcommit.Retry(groupcommit.Never))
	_, err := cs.Do(background, "x", put{1})
	require.Same(s, errBusiness, err)
	_, err = groupcommit.Lookup(background, db, "x")
	require.ErrorIs(s, err, durable.ErrNotFound)
	fail = false
	_, err = cs.Do(background, "x", put{1})
	require.NoError(s, err)
	require.Equal(s, []string{"1"}, s.entries(db))
}

func unencodable(s *scene) {
	db, _ := s.promising()
	g := s.newGate()
	cs := handle(s, db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[put, any]) error {
		g.pass()
		for _, c := range batch {
			if err := s.putInto(tx, ctx, c.Value.N); err != nil {
				return err
			}
			if c.Value.N == 2 {
				c.Resolve(func() {})
			} else {
				c.Resolve("fine")
			}
		}
		return nil
	})
	for i, p := range oneBatch(s, g, cs, "id ", 1, 2, 3) {
		r, err := p.Await(background)
		if i == 1 {
			require.ErrorContains(s, err, `command "id 2" of kind "enginetest.put": its result of type func() cannot be encoded`)
			continue
		}
		require.NoError(s, err)
		require.Equal(s, "fine", r)
	}
	require.Equal(s, []string{"-1", "1", "3"}, s.entries(db))

	funcs, err := groupcommit.Handle(db, groupcommit.Each(func(context.Context, *sql.Tx, func()) (int, error) { return 1, nil }))
	require.NoError(s, err)
	_, err = funcs.Do(background, "f", func() {})
	require.ErrorContains(s, err, `command "f" of kind "func()": its value of type func() cannot be encoded`)
	_, err = funcs.Do(background, "", func() {})
	require.NoError(s, err, "without an id nothing is encoded")
}
