package groupcommit

import (
	"context"
	"database/sql/driver"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/groupcommit/groupcommit/durable"
)

// unchecked is an engine that leaves the arguments to its driver, and lets calls have ids.
type unchecked struct{}

type uncheckedSession struct{ checkingSession }

func (unchecked) Open(_ context.Context, conn driver.Conn, _ engine.Settings) (engine.Session, error) {
	return uncheckedSession{checkingSession{anySession{conn}}}, nil
}

func (uncheckedSession) Traits() engine.Traits {
	return engine.Traits{Dialect: engine.GenericSQL, Check: func(*driver.NamedValue) error { return nil }}
}

func TestAnArgumentThatPanicsOrCannotBeComparedRejectsItsPromise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newFake().db(t, WithEngine(unchecked{}))
		withIDs(t, db)
		boom := errors.New("boom")
		p := Go(WithID(t.Context(), "mine"), db, "INSERT ?", panicker{func() { panic(boom) }})
		_, err := p.Await(t.Context())
		require.IsType(t, (*PanicError)(nil), err)
		require.ErrorIs(t, err, boom)
		assert.Equal(t, durable.Rejected, p.State())
		assert.PanicsWithValue(t, boom, func() {
			db.ExecContext(WithID(t.Context(), "mine"), "INSERT ?", panicker{func() { panic(boom) }})
		})
		_, err = Go(WithID(t.Context(), "mine"), db, "INSERT ?", func() {}).Await(t.Context())
		require.ErrorContains(t, err, `id "mine"`)
		_, err = db.ExecContext(WithID(t.Context(), "mine"), "INSERT ?", func() {})
		require.ErrorContains(t, err, `id "mine"`)
		_, err = Go(WithID(t.Context(), "mine"), db, "INSERT a").Await(t.Context())
		require.NoError(t, err, "the id is free")
	})
}
