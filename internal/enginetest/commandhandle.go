package enginetest

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/stretchr/testify/require"
)

type name2 string

func handle2(s *scene, db *sql.DB, h groupcommit.Handler[name2, int], opts ...groupcommit.HandlerOption) *groupcommit.Commands[name2, int] {
	s.Helper()
	cs, err := groupcommit.Handle(db, h, opts...)
	require.NoError(s, err)
	return cs
}

// oneBuffer is a codec whose Encode overwrites the value that it returned last.
type oneBuffer struct{ buf bytes.Buffer }

func (c *oneBuffer) Encode(v any) ([]byte, error) {
	c.buf.Reset()
	err := json.NewEncoder(&c.buf).Encode(v)
	return c.buf.Bytes(), err
}

func (c *oneBuffer) Decode(data []byte, v any) error { return json.Unmarshal(data, v) }

func codecWithOneBuffer(s *scene) {
	db, _ := s.promising()
	g := s.newGate()
	cs := handle(s, db, func(_ context.Context, _ *sql.Tx, batch []*groupcommit.Command[put, int]) error {
		g.pass()
		for _, c := range batch {
			c.Resolve(c.Value.N)
		}
		return nil
	}, groupcommit.WithCodec(new(oneBuffer)))
	values := []int{1, 2, 3, 4}
	for _, p := range oneBatch(s, g, cs, "id ", values...) {
		_, err := p.Await(background)
		require.NoError(s, err)
	}
	for _, n := range values {
		r, err := cs.Do(background, fmt.Sprint("id ", n), put{n})
		require.NoError(s, err)
		require.Equal(s, n, r)
	}
}

func badHandlers(s *scene) {
	fine := groupcommit.Each(func(context.Context, *sql.Tx, put) (int, error) { return 0, nil })
	_, err := groupcommit.Handle[put, int](s.db, nil)
	require.ErrorContains(s, err, "the handler of enginetest.put is nil")
	_, err = groupcommit.Handle(s.db, groupcommit.Each[put, int](nil))
	require.ErrorContains(s, err, "the handler of enginetest.put is nil")
	_, err = groupcommit.Handle(s.twin(), fine)
	require.ErrorContains(s, err, "not groupcommit's")
	_, err = groupcommit.Handle(s.db, fine, groupcommit.MaxLen(1), nil)
	require.EqualError(s, err, "groupcommit: option 2 of 2 is nil")
	_, err = groupcommit.Handle(s.db, fine, groupcommit.MaxLen(0))
	require.ErrorContains(s, err, "option MaxLen")
	_, err = groupcommit.Handle(s.db, fine, groupcommit.Durable())
	require.ErrorContains(s, err, "option Durable needs a database that keeps promises")
	_, err = groupcommit.Handle(s.db, fine, groupcommit.Kind(""))
	require.ErrorContains(s, err, "option Kind")
	_, err = groupcommit.Handle(s.db, fine, groupcommit.Lease(time.Millisecond))
	require.ErrorContains(s, err, "option Lease")
	for _, o := range []groupcommit.HandlerOption{groupcommit.Lease(time.Minute), groupcommit.Timeout(time.Minute)} {
		_, err = groupcommit.Handle(s.db, fine, o)
		require.ErrorContains(s, err, "allowed with Durable only")
	}
	type many = func(put, put, put, put, put, put, put, put, put, put, put, put, put, put, put, put, put)
	long := groupcommit.Each(func(context.Context, *sql.Tx, many) (int, error) { return 0, nil })
	_, err = groupcommit.Handle(s.db, long)
	require.ErrorContains(s, err, "a kind is 1 to 255 bytes of UTF-8 without NUL; give it one with Kind")
	_, err = groupcommit.Handle(s.db, long, groupcommit.Kind("long"))
	require.NoError(s, err)
	cs := handle(s, s.db, fine)
	_, err = groupcommit.Handle(s.db, fine)
	require.ErrorContains(s, err, "has a handler for commands of type enginetest.put")
	_, err = groupcommit.Handle(s.db, groupcommit.Each(func(context.Context, *sql.Tx, name2) (int, error) { return 0, nil }), groupcommit.Kind("enginetest.put"))
	require.ErrorContains(s, err, `has a handler for commands of kind "enginetest.put", of type enginetest.put`)
	_, err = cs.Do(background, "x", put{1})
	require.ErrorContains(s, err, "keeps no promises")
	require.ErrorContains(s, cs.Recover(background), "not Durable")
	require.ErrorContains(s, cs.Cancel(background, "x"), "not Durable")
	require.ErrorContains(s, cs.Add(background, nil, "x", put{1}), "not Durable")

	db, _ := s.promising()
	durables := handle(s, db, fine, groupcommit.Durable())
	_, err = durables.Do(background, "", put{1})
	require.ErrorContains(s, err, "has no id")
	_, err = durables.Do(background, strings.Repeat("x", 256), put{1})
	require.ErrorContains(s, err, "has 256 bytes")
	require.ErrorContains(s, durables.Add(background, nil, "x", put{1}), "the *sql.Tx is nil")
	require.NoError(s, db.Close())
	_, err = durables.Do(background, "x", put{1})
	require.ErrorIs(s, err, groupcommit.ErrClosed)
	require.ErrorIs(s, durables.Cancel(background, "x"), groupcommit.ErrClosed)
	require.ErrorIs(s, durables.Recover(background), groupcommit.ErrClosed)
	_, err = groupcommit.Handle(db, groupcommit.Each(func(context.Context, *sql.Tx, name2) (int, error) { return 0, nil }))
	require.Error(s, err)
}
