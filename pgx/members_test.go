package pgx_test

import (
	"context"
	"database/sql/driver"
	"sync"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/stretchr/testify/require"
)

// heard notes how groups end.
type heard struct {
	mu       sync.Mutex
	outcomes []engine.Outcome
}

type heardSession struct {
	engine.Session
	of *heard
}

func (h *heard) Open(ctx context.Context, conn driver.Conn, s engine.Settings) (engine.Session, error) {
	session, err := engine.Find(conn, nil).Open(ctx, conn, s)
	return heardSession{session, h}, err
}

func (s heardSession) Group(ctx context.Context, calls []*engine.Call) engine.Outcome {
	out := s.Session.Group(ctx, calls)
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	s.of.outcomes = append(s.of.outcomes, out)
	return out
}

func TestTheTimeOfAGroupsMembersIsTold(t *testing.T) {
	t.Parallel()
	everyWay(t, func(t *testing.T, via ...pgtest.DSNOption) {
		h := new(heard)
		r := setUpOn(t, pgtest.DSN(t), via, groupcommit.WithEngine(h))
		sleeps := call{"INSERT INTO log (k) SELECT 3 FROM pg_sleep(0.1)", nil}
		r.good(r.together(logged(1), sleeps, sleeps, logged(2)))
		h.mu.Lock()
		defer h.mu.Unlock()
		if out := h.outcomes[len(h.outcomes)-1]; out.Members != 0 { // by the simple protocol all may be put off
			require.Greater(t, out.Members, 150*time.Millisecond)
		} else {
			require.Contains(t, t.Name(), "autocommit/simple_protocol")
		}
	})
}
