package groupcommit

import (
	"context"
	"database/sql/driver"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit/internal/turn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// panicky is an engine for a database with one writer, or one connection, whose groups panic.
type panicky struct {
	oneConn bool
	alone   func()
	group   func() // before it panics
}

type panickySession struct {
	oneWriterSession
	panicky
}

func (e panicky) Open(_ context.Context, conn driver.Conn, _ engine.Settings) (engine.Session, error) {
	return panickySession{oneWriterSession{checkingSession{anySession{conn}}}, e}, nil
}

func (s panickySession) Traits() engine.Traits {
	t := s.oneWriterSession.Traits()
	t.OneConn = s.oneConn
	return t
}

func (s panickySession) Idle() bool { return true }

func (s panickySession) Alone(c *Call) (driver.Result, error) {
	if s.alone != nil {
		s.alone()
	}
	return s.oneWriterSession.Alone(c)
}

func (s panickySession) Group(context.Context, []*Call) engine.Outcome {
	if s.group != nil {
		s.group()
	}
	panic("a fault of the engine's")
}

func TestACallThatRunsAgainAfterAnEnginesPanicTakesItsTurn(t *testing.T) {
	for _, oneConn := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var d *database
			turns := 0
			f := newFake()
			db := f.db(t, WithEngine(panicky{oneConn: oneConn, alone: func() {
				if d.Writer.Free() {
					t.Error("it is executed without a turn")
				}
				turns++ // the race detector watches
			}}))
			d = withIDs(t, db)
			release := occupy(t, f, db)
			var ps []*Promise
			for i := range 5 {
				ps = append(ps, Go(WithID(t.Context(), fmt.Sprint(i)), db, fmt.Sprintf("INSERT %d", i)))
			}
			answers := make(chan error)
			go func() { _, err := db.ExecContext(WithID(t.Context(), "exec"), "INSERT 5"); answers <- err }()
			synctest.Wait()
			release()
			for _, p := range ps {
				_, err := p.Await(t.Context())
				require.NoError(t, err)
			}
			require.NoError(t, <-answers)
			assert.Equal(t, 7, turns)
			assert.Len(t, f.stored(), 7)
			if oneConn {
				assert.Equal(t, 1, d.Pool.Stats().OpenConnections, "another connection is another database")
			}
		})
	}
}

func TestACallThatRunsAgainWaitsForItsTurnNoLongerThanOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d *database
		other := turn.New()
		f := newFake()
		db := f.db(t, WithEngine(panicky{group: func() {
			go d.TakeTurn(t.Context(), other, nil, time.Now()) // the next in the line
			synctest.Wait()
		}}))
		d = withIDs(t, db)
		release := occupy(t, f, db)
		ps := []*Promise{Go(WithID(t.Context(), "a"), db, "INSERT a"), Go(WithID(t.Context(), "b"), db, "INSERT b")}
		synctest.Wait()
		start := time.Now()
		release()
		for _, p := range ps {
			_, err := p.Await(t.Context())
			var unknown *OutcomeUnknownError
			require.ErrorAs(t, err, &unknown)
			assert.Equal(t, p.ID(), unknown.ID)
		}
		assert.Equal(t, busyWait, time.Since(start))
		assert.Equal(t, []string{"INSERT plug []"}, f.stored())
		d.Writer.Leave(other)
	})
}
