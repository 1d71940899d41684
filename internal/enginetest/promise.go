package enginetest

import (
	"context"
	"errors"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var promiseStories = []story{
	{"PromisesAreKeptInTheOrderOfTheirGo", promisesInOrder},
	{"APromiseIsPendingUntilItsCommit", promiseIsPending},
	{"PromisesThatNobodyAwaitsSettle", nobodyAwaits},
	{"ManyMayAwaitOnePromise", manyAwait},
	{"AwaitEndsWithItsOwnContextOnly", awaitEnds},
	{"WhatCannotJoinAGroupIsStillPromised", promiseApart},
	{"APromiseThatCannotBeMadeIsRejected", rejectedPromises},
}

func promisesInOrder(s *scene) {
	db := s.openWith(groupcommit.Writers(1)) // groups that run at the same time have no order
	const n = 200
	promises := make([]*groupcommit.Promise, n)
	for i := range n { // each depends on the one before it
		promises[i] = groupcommit.Go(background, db, s.q("INSERT INTO entries (who, n) SELECT 1, count(*) FROM entries"))
	}
	for i, p := range promises {
		res, err := p.Await(background)
		require.NoError(s, err)
		rows, err := res.RowsAffected()
		require.NoError(s, err)
		require.EqualValues(s, 1, rows)
		require.Equal(s, durable.Resolved, p.State(), "promise %d", i)
	}
	require.Equal(s, "200", s.value(db, "SELECT count(DISTINCT n) FROM entries"))
	st := s.stats(db)
	require.Less(s, st.Groups, st.Calls, "promises that wait form groups")
}

func promiseIsPending(s *scene) {
	release := s.hold(s.db)
	kept := groupcommit.Go(background, s.db, s.insert(), "a", 1)
	broken := groupcommit.Go(background, s.db, s.insert(), "a", 2)
	require.Equal(s, durable.Pending, kept.State())
	require.Equal(s, durable.Pending, broken.State())
	select {
	case <-kept.Done():
		require.Fail(s, "a promise is done before its commit")
	default:
	}
	release()
	bounded.Receive(s, "a promise is kept", kept.Done())
	require.Equal(s, durable.Resolved, kept.State())
	_, err := kept.Await(background)
	require.NoError(s, err)
	bounded.Receive(s, "a promise is rejected", broken.Done())
	require.Equal(s, durable.Rejected, broken.State())
	_, err = broken.Await(background)
	require.True(s, s.NativeError(err), "%v", err)
}

func nobodyAwaits(s *scene) {
	for i := range 50 {
		groupcommit.Go(background, s.db, s.q("INSERT INTO entries (who, n) VALUES (?, ?)"), 1, i)
	}
	// The calls of one goroutine are executed in order: the last one is after all of them.
	_, err := groupcommit.Go(background, s.db, s.q("INSERT INTO entries (who, n) VALUES (?, ?)"), 1, 50).Await(background)
	require.NoError(s, err)
	require.Equal(s, "51", s.value(s.witness(), "SELECT count(DISTINCT n) FROM entries"))
}

func manyAwait(s *scene) {
	release := s.hold(s.db)
	p := groupcommit.Go(background, s.db, s.insert(), "a", 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.crowd(10, func(int) {
			res, err := p.Await(background)
			if assert.NoError(s, err) {
				rows, err := res.RowsAffected()
				assert.NoError(s, err)
				assert.EqualValues(s, 1, rows)
			}
		})
	}()
	release()
	bounded.Receive(s, "all that await a promise know of it", done)
}

func awaitEnds(s *scene) {
	release := s.hold(s.db)
	p := groupcommit.Go(background, s.db, s.insert(), "a", 1)
	ctx, cancel := context.WithCancel(background)
	cancel()
	_, err := p.Await(ctx)
	require.Equal(s, context.Canceled, err)
	require.Equal(s, durable.Pending, p.State(), "the promise goes on")
	release()
	_, err = p.Await(background)
	require.NoError(s, err)
	_, err = p.Await(ctx)
	require.NoError(s, err, "a settled promise needs no waiting")
	require.Equal(s, "a", s.value(s.witness(), "SELECT name FROM items"))
}

func promiseApart(s *scene) {
	p := groupcommit.Go(background, s.db, "CREATE TABLE later (n BIGINT)")
	_, err := p.Await(background)
	require.NoError(s, err)
	require.Equal(s, durable.Resolved, p.State())
	res, err := groupcommit.Go(background, s.db, s.q("INSERT INTO later (n) VALUES (?)"), 1).Await(background)
	require.NoError(s, err)
	rows, err := res.RowsAffected()
	require.NoError(s, err)
	require.EqualValues(s, 1, rows)

	plain := s.twin()
	_, want := plain.Exec("DROP TABLE nothing")
	p = groupcommit.Go(background, s.db, "DROP TABLE nothing")
	_, err = p.Await(background)
	s.sameError(want, err)
	require.Equal(s, durable.Rejected, p.State())
}

func rejectedPromises(s *scene) {
	_, err := groupcommit.Go(background, s.twin(), s.insert(), "a", 1).Await(background)
	require.ErrorContains(s, err, "groupcommit")
	_, err = groupcommit.Go(background, nil, s.insert(), "a", 1).Await(background)
	require.ErrorContains(s, err, "nil")

	require.NoError(s, s.db.Close())
	p := groupcommit.Go(background, s.db, s.insert(), "a", 1)
	_, err = p.Await(background)
	require.True(s, errors.Is(err, groupcommit.ErrClosed), "%v", err)
	require.Equal(s, durable.Rejected, p.State())
}
