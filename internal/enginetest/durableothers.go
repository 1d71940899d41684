package enginetest

import (
	"context"
	"database/sql"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/stretchr/testify/require"
)

func brokenCommand(s *scene) {
	db, _ := s.promising()
	now := time.Now().Add(-time.Second)
	s.left(db, "broken", `{"N":"no number"}`, now, "", now)
	s.left(db, "fine", `{"N":1}`, now.Add(time.Millisecond), "", now)
	l := new(log)
	cs := handle(s, db, s.putting(l), groupcommit.Durable())
	err := cs.Recover(s.inTime())
	require.ErrorContains(s, err, `command "broken" of kind "enginetest.put": its recorded value cannot be decoded as enginetest.put; it stays pending`)
	require.ErrorAs(s, err, new(*json.UnmarshalTypeError))
	require.Equal(s, []int{1}, l.all())
	require.Equal(s, durable.Pending, s.state(db, "broken"))

	s.exec(db, "INSERT INTO groupcommit_promises (id, state, create_key, kind, param, created_at, completed_at, value) SELECT 'other result', 1, create_key, kind, param, 1, 1, ? FROM groupcommit_promises WHERE id = 'fine'", []byte("7"))
	_, err = cs.Do(background, "new", put{2})
	require.NoError(s, err)
	s.exec(db, "UPDATE groupcommit_promises SET value = ? WHERE id = 'new'", []byte("7"))
	_, err = cs.Do(background, "new", put{2})
	require.ErrorContains(s, err, `command "new" of kind "enginetest.put": its recorded result cannot be decoded as string`)
	require.Equal(s, []int{1, 2}, l.all())
}

// fickle is a codec that decodes nothing at times.
type fickle struct{ blind atomic.Bool }

func (c *fickle) Encode(v any) ([]byte, error) { return json.Marshal(v) }

func (c *fickle) Decode(data []byte, v any) error {
	if c.blind.Load() {
		return errBusiness
	}
	return json.Unmarshal(data, v)
}

// inTime is a context for a call that must not wait for ever.
func (s *scene) inTime() context.Context {
	ctx, cancel := context.WithTimeout(background, bounded.Patience)
	s.Cleanup(cancel)
	return ctx
}

// add records a command in a new transaction, in which then may do more.
func (s *scene) add(db *sql.DB, cs *groupcommit.Commands[put, string], id string, v put, then func(tx *sql.Tx)) {
	s.Helper()
	tx, err := db.Begin()
	require.NoError(s, err)
	defer tx.Rollback()
	require.NoError(s, cs.Add(background, tx, id, v))
	then(tx)
	require.NoError(s, tx.Commit())
}

func brokenAndAsked(s *scene) {
	db, _ := s.promising()
	l, codec := new(log), new(fickle)
	cs := handle(s, db, s.putting(l), groupcommit.Durable(), groupcommit.WithCodec(codec), groupcommit.Lease(time.Hour))
	codec.blind.Store(true)
	s.add(db, cs, "x", put{1}, func(*sql.Tx) {})
	require.ErrorIs(s, cs.Recover(s.inTime()), errBusiness)
	r, err := cs.Do(s.inTime(), "x", put{1})
	require.NoError(s, err)
	require.Equal(s, "result 1", r)
	require.Equal(s, []int{1}, l.all())
	require.NoError(s, cs.Recover(s.inTime()))
}

func brokenAndCancelled(s *scene) {
	db, _ := s.promising()
	l, codec := new(log), new(fickle)
	cs := handle(s, db, s.putting(l), groupcommit.Durable(), groupcommit.WithCodec(codec))
	codec.blind.Store(true)
	s.add(db, cs, "x", put{1}, func(*sql.Tx) {})
	require.ErrorIs(s, cs.Recover(s.inTime()), errBusiness)
	require.NoError(s, cs.Cancel(background, "x"))
	s.exec(db, "DELETE FROM groupcommit_promises WHERE id = 'x'")

	s.left(db, "x", `{"N":2}`, time.Now(), "another", time.Now().Add(time.Hour))
	ctx, cancel := context.WithTimeout(background, 100*time.Millisecond)
	defer cancel()
	require.ErrorIs(s, cs.Recover(ctx), context.DeadlineExceeded, "it is another command, which somebody has")
}

func cancelOfAnotherKind(s *scene) {
	db, _ := s.promising()
	cs := handle(s, db, s.putting(new(log)), groupcommit.Durable())
	others := handle2(s, db, groupcommit.Each(func(context.Context, *sql.Tx, name2) (int, error) { return 0, nil }), groupcommit.Durable())
	s.left(db, "x", `{"N":1}`, time.Now(), "another", time.Now().Add(time.Hour))
	require.ErrorIs(s, others.Cancel(background, "x"), durable.ErrNotFound)
	require.Equal(s, durable.Pending, s.state(db, "x"))
	require.ErrorContains(s, others.Cancel(background, ""), "the id")
	require.NoError(s, cs.Cancel(background, "x"))
}

// resolvedElsewhere resolves a command as another process does.
func (s *scene) resolvedElsewhere(db *sql.DB, id, result string) {
	s.Helper()
	s.exec(db, "UPDATE groupcommit_promises SET state = 1, value = ?, completed_at = ?, lease_owner = NULL, lease_until = NULL WHERE id = ?",
		[]byte(result), time.Now().UnixMilli(), id)
}

func takenBySomebodyElse(s *scene) {
	db, _ := s.promising()
	l := new(log)
	cs := handle(s, db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[put, string]) error {
		l.add(batch[0].Value.N)
		return errBusiness
	}, groupcommit.Durable(), groupcommit.Retry(func(int) (time.Duration, bool) { // between two attempts
		s.exec(db, "UPDATE groupcommit_promises SET lease_owner = 'another', lease_until = ? WHERE id = 'x'", time.Now().Add(time.Hour).UnixMilli())
		return 0, len(l.all()) < 3
	}))
	p := cs.Go(background, "x", put{1})
	bounded.Until(s, "it is handled", func() bool { return len(l.all()) > 0 })
	for deadline := time.Now().Add(100 * time.Millisecond); time.Now().Before(deadline) && len(l.all()) < 2; {
		time.Sleep(time.Millisecond)
	}
	s.resolvedElsewhere(db, "x", `"another's result"`)
	r, err := p.Await(s.inTime())
	require.NoError(s, err)
	require.Equal(s, "another's result", r)
	require.Equal(s, []int{1}, l.all(), "not once more")
}

// takenByThisProcess tells the story of a lease that could not be given up.
func takenByThisProcess(s *scene) {
	db, _ := s.promising()
	l := new(log)
	var owner string
	put1 := s.putting(l)
	cs := handle(s, db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[put, string]) error {
		owner = s.value(tx, "SELECT lease_owner FROM groupcommit_promises WHERE id = ?", batch[0].ID())
		return put1(ctx, tx, batch)
	}, groupcommit.Durable())
	_, err := cs.Do(background, "first", put{1})
	require.NoError(s, err)
	s.add(db, cs, "x", put{2}, func(tx *sql.Tx) {
		s.exec(tx, "UPDATE groupcommit_promises SET lease_owner = 'another', lease_until = ? WHERE id = 'x'", time.Now().Add(time.Hour).UnixMilli())
	})
	p := cs.Go(background, "x", put{2})
	s.exec(db, "UPDATE groupcommit_promises SET lease_owner = ? WHERE id = 'x'", owner)
	r, err := p.Await(s.inTime())
	require.NoError(s, err)
	require.Equal(s, "result 2", r)
	require.Equal(s, []int{1, 2}, l.all())
}

func closedLeavesPending(s *scene) {
	if s.OneConn {
		s.Skip("a database that lives in its connection is gone when it is closed")
	}
	db, again := s.promising()
	failed := make(chan struct{})
	var once sync.Once
	cs := handle(s, db, func(context.Context, *sql.Tx, []*groupcommit.Command[put, string]) error {
		once.Do(func() { close(failed) })
		return errBusiness
	}, groupcommit.Durable(), groupcommit.Retry(groupcommit.Constant(24*time.Hour, 1)))
	p := cs.Go(background, "x", put{1})
	bounded.Receive(s, "the command has failed", failed)
	require.NoError(s, db.Close())
	_, err := p.Await(background)
	var pending *groupcommit.PendingError
	require.ErrorAs(s, err, &pending)
	require.Equal(s, "x", pending.ID)
	require.ErrorIs(s, err, errBusiness)

	db = again()
	l := new(log)
	cs = handle(s, db, s.putting(l), groupcommit.Durable())
	r, err := cs.Do(background, "x", put{1})
	require.NoError(s, err, "its lease was given up")
	require.Equal(s, "result 1", r)
}
