package groupcommit

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// gated is a fake to which each connecting takes a word: an error, or nil to go ahead.
type gated struct {
	*fake
	word     chan error
	connects atomic.Int64
}

func (g *gated) Connect(ctx context.Context) (driver.Conn, error) {
	g.connects.Add(1)
	select {
	case err := <-g.word:
		if err != nil {
			return nil, err
		}
		return g.fake.Connect(ctx)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// insert has a caller use the database, and returns when it is on its way.
func insert(ctx context.Context, db *sql.DB) (answer chan error) {
	answer = make(chan error, 1)
	go func() { _, err := db.ExecContext(ctx, "INSERT 1"); answer <- err }()
	synctest.Wait()
	return answer
}

func atFirstUse(t *testing.T, test func(t *testing.T, g *gated, db *sql.DB)) {
	synctest.Test(t, func(t *testing.T) {
		g := &gated{fake: newFake(), word: make(chan error)}
		c, err := NewConnector(g)
		require.NoError(t, err)
		test(t, g, g.watched(t, sql.OpenDB(c)))
	})
}

func TestAContextThatEndsAtTheFirstUseIsItsOwnCallersOnly(t *testing.T) {
	atFirstUse(t, func(t *testing.T, g *gated, db *sql.DB) {
		var cancels []context.CancelFunc
		var leave []chan error
		for range 10 {
			ctx, cancel := context.WithCancel(t.Context())
			cancels, leave = append(cancels, cancel), append(leave, insert(ctx, db))
		}
		stays := insert(t.Context(), db)
		for i := range leave {
			i = (i + 9) % 10 // the last one waits, the first one opens, and then one of the others
			cancels[i]()
			synctest.Wait()
			assert.ErrorIs(t, <-leave[i], context.Canceled)
		}
		g.word <- nil
		assert.NoError(t, <-stays)
	})
}

// untold is a context whose deadline is past, and which has not been told yet.
type untold struct{ context.Context }

func (untold) Deadline() (time.Time, bool) { return time.Now(), true }

// timely is a fake whose network knows of deadlines before their contexts do, and says so when it is asked.
type timely struct {
	*fake
	asked chan struct{}
}

func (c timely) Connect(ctx context.Context) (driver.Conn, error) {
	if at, ok := ctx.Deadline(); ok && !time.Now().Before(at) { // a group's is a minute away
		<-c.asked
		return nil, errors.New("i/o timeout")
	}
	return c.fake.Connect(ctx)
}

func TestADeadlineThatIsPastAtTheFirstUseIsItsOwnCallersOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := timely{newFake(), make(chan struct{})}
		connector, err := NewConnector(c)
		require.NoError(t, err)
		db := c.watched(t, sql.OpenDB(connector))
		for range 50 {
			insert(untold{t.Context()}, db)
		}
		stays := insert(t.Context(), db)
		for opens := true; opens; synctest.Wait() {
			select {
			case c.asked <- struct{}{}:
			default:
				opens = false
			}
		}
		assert.NoError(t, <-stays, "another opens the database for it, or it does itself")
	})
}

func TestAFailureAtTheFirstUseIsSharedByThoseWhoWaitedForTheSecondTime(t *testing.T) {
	atFirstUse(t, func(t *testing.T, g *gated, db *sql.DB) {
		var callers []chan error
		for range 10 {
			callers = append(callers, insert(t.Context(), db))
		}
		first, second := errors.New("first"), errors.New("second")
		g.word <- first
		synctest.Wait()
		assert.ErrorIs(t, <-callers[0], first, "nobody else's: another may be luckier")
		late := insert(t.Context(), db)
		g.word <- second
		synctest.Wait()
		for _, c := range callers[1:] {
			assert.ErrorIs(t, <-c, second)
		}
		g.word <- nil
		assert.NoError(t, <-late, "it has seen one attempt fail, which began before it came")
		assert.EqualValues(t, 3, g.connects.Load())
	})
}

// A caller may look just before the opening is over, and ask for the next one just after.
func TestADatabaseIsOpenedOnce(t *testing.T) {
	for range 500 {
		c, err := NewConnector(newFake())
		require.NoError(t, err)
		db := sql.OpenDB(c)
		start := make(chan struct{})
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				<-start
				_, err := db.Exec("INSERT 1")
				assert.NoError(t, err)
			})
		}
		close(start)
		all.Wait()
		d, err := databaseOf(t.Context(), db)
		require.NoError(t, err)
		require.NotNil(t, d.all)
		require.NoError(t, db.Close())
	}
}
