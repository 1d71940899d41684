package enginetest

import (
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/stretchr/testify/require"
)

func backlogOfAll(s *scene) {
	db, _ := s.promising()
	backlog := func() map[string]groupcommit.Backlog {
		s.Helper()
		b, err := groupcommit.BacklogOf(background, db)
		require.NoError(s, err)
		return b
	}
	require.Empty(s, backlog())
	now := time.UnixMilli(time.Now().UnixMilli())
	s.left(db, "a", `{"N":1}`, now.Add(-time.Hour), "another process", now.Add(-time.Second))
	s.left(db, "b", `{"N":2}`, now.Add(-time.Minute), "", now)
	s.exec(db, "INSERT INTO groupcommit_promises (id, state, create_key, kind, created_at) VALUES (?, 0, ?, 'of another program', ?)", "c", []byte("c"), now.UnixMilli())
	s.exec(db, "INSERT INTO groupcommit_promises (id, state, create_key, created_at) VALUES (?, 0, ?, ?)", "no command", []byte("d"), now.UnixMilli())
	another := groupcommit.Backlog{Count: 1, Oldest: now}
	require.Equal(s, map[string]groupcommit.Backlog{
		"enginetest.put":     {Count: 2, Oldest: now.Add(-time.Hour)},
		"of another program": another,
	}, backlog())
	cs := handle(s, db, s.putting(new(log)), groupcommit.Durable())
	require.NoError(s, cs.Recover(s.inTime()))
	require.Equal(s, map[string]groupcommit.Backlog{"of another program": another}, backlog())
}
