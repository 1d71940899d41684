package groupcommit

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/groupcommit/groupcommit/engine"
)

// script is an engine whose groups end as it says. What a call does is said by its text.
type script struct {
	abreast bool // calls have no order
	noWait  bool // the program waits for no lock of another's

	mu       sync.Mutex
	ran      []string
	verdicts []engine.Outcome // of the groups to come; what is left of them is Committed
	group    func(calls []*Call) engine.Outcome
	gate     chan struct{} // closed when "plug" may end
}

type scriptSession struct {
	anySession
	*script
}

func (s *script) Open(_ context.Context, conn driver.Conn, _ engine.Settings) (engine.Session, error) {
	return scriptSession{anySession{conn}, s}, nil
}

func (s scriptSession) Traits() engine.Traits {
	t := engine.Traits{Dialect: engine.GenericSQL, Check: engine.DefaultCheck, OneWriter: !s.abreast, BusyWait: time.Hour, Busy: errBusy}
	if s.abreast {
		t.Writers = 2
	}
	if s.noWait {
		t.BusyWait = 0
	}
	return t
}

func (s scriptSession) Idle() bool { return true }

func (s scriptSession) Alone(c *Call) (driver.Result, error) {
	if word(c) != "plug" {
		s.note("alone", c)
	}
	return s.run(c)
}

func (s scriptSession) Group(_ context.Context, calls []*Call) (out engine.Outcome) {
	s.note("group", calls...)
	if s.group != nil {
		return s.group(calls)
	}
	for _, c := range calls {
		c.Answer(resultOf("of an attempt that was rolled back"), nil)
	}
	if len(s.verdicts) > 0 {
		out, s.verdicts = s.verdicts[0], s.verdicts[1:]
	}
	if out.Verdict == engine.Committed {
		for _, c := range calls {
			c.Try(s.run)
		}
	}
	return out
}

// run is a statement.
func (s *script) run(c *Call) (driver.Result, error) {
	switch w := word(c); {
	case w == "plug":
		<-s.gate
	case w == "panic":
		panic("panic")
	case w == "goexit":
		runtime.Goexit()
	}
	return resultOf(word(c)), nil
}

func (s *script) note(what string, calls ...*Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range calls {
		what += " " + word(c)
	}
	s.ran = append(s.ran, what)
}

func word(c *Call) string { return strings.TrimPrefix(c.Query, "INSERT ") }

// resultOf has the text's length for an id, so that a result that went to another caller shows.
type resultOf string

func (r resultOf) LastInsertId() (int64, error) { return int64(len(r)), nil }
func (r resultOf) RowsAffected() (int64, error) { return 1, nil }

// answer is what a caller of Exec gets.
type answer struct {
	word     string
	over     chan struct{}
	res      sql.Result
	err      error
	panicked any
	ended    bool // Exec has returned
}

// scripted has the words executed by callers of their own, as one group, and returns their answers. The last of them may be
// promises.
func scripted(t *testing.T, s *script, words string) (*sql.DB, []*answer) {
	db := newFake().db(t, WithEngine(s))
	s.gate = make(chan struct{})
	plug := exec1(db, "plug")
	var as []*answer
	for _, w := range strings.Fields(words) {
		as = append(as, exec1(db, w))
	}
	close(s.gate)
	<-plug.over
	for _, a := range as {
		<-a.over
	}
	return db, as
}

// exec1 has a goroutine of its own execute a word; it has come as far as it can when exec1 returns.
func exec1(db *sql.DB, w string) *answer {
	a := &answer{word: w, over: make(chan struct{})}
	go func() {
		defer close(a.over)
		defer func() { a.panicked = recover() }()
		a.res, a.err = db.Exec("INSERT " + w)
		a.ended = true
	}()
	synctest.Wait()
	return a
}

func (a *answer) ok(t *testing.T) {
	t.Helper()
	<-a.over
	require.Nil(t, a.panicked, a.word)
	require.NoError(t, a.err, a.word)
	id, err := a.res.LastInsertId()
	require.NoError(t, err)
	require.EqualValues(t, len(a.word), id, "the result of another call")
}

func allOK(t *testing.T, as ...*answer) {
	t.Helper()
	for _, a := range as {
		a.ok(t)
	}
}

func TestARolledBackGroupRunsAgainInOrderWithTheCulpritAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{verdicts: []engine.Outcome{{Verdict: engine.RolledBack, Culprit: 2}}}
		db, as := scripted(t, s, "a bb ccc d ee")
		allOK(t, as...)
		assert.Equal(t, []string{"group a bb ccc d ee", "group a bb", "alone ccc", "group d ee"}, s.ran)
		st, err := StatsOf(db)
		require.NoError(t, err)
		assert.EqualValues(t, 1, st.Reruns)
	})
}

func TestAfterTooManyCulpritsTheRestRunsOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := engine.Outcome{Verdict: engine.RolledBack, Culprit: 0}
		s := &script{verdicts: []engine.Outcome{first, first, first, first}}
		_, as := scripted(t, s, "a b c d e f g")
		allOK(t, as...)
		assert.Equal(t, []string{
			"group a b c d e f g", "alone a",
			"group b c d e f g", "alone b",
			"group c d e f g", "alone c",
			"group d e f g", "alone d", "alone e", "alone f", "alone g",
		}, s.ran)
	})
}

func TestWithoutACulpritEveryCallRunsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{verdicts: []engine.Outcome{{Verdict: engine.RolledBack, Culprit: -1}}}
		_, as := scripted(t, s, "a bb ccc")
		allOK(t, as...)
		assert.Equal(t, []string{"group a bb ccc", "alone a", "alone bb", "alone ccc"}, s.ran)
	})
}

func TestWhereCallsHaveNoOrderOneThatRunsAloneKeepsNoneWaiting(t *testing.T) {
	for name, story := range map[string]struct {
		verdict engine.Outcome
		ran     []string
	}{
		"culprit":    {engine.Outcome{Verdict: engine.RolledBack, Culprit: 2}, []string{"group a bb ccc d", "group a bb d", "alone ccc"}},
		"no culprit": {engine.Outcome{Verdict: engine.RolledBack, Culprit: -1}, []string{"group a bb ccc d", "alone a", "alone bb", "alone ccc", "alone d"}},
		"another":    {engine.Outcome{Verdict: engine.RolledBack, Culprit: 1}, []string{"group a bb ccc d", "group a ccc d", "alone bb"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{abreast: true, verdicts: []engine.Outcome{story.verdict}}
				_, as := scripted(t, s, "a bb ccc d")
				allOK(t, as...)
				require.ElementsMatch(t, story.ran, s.ran)
				groups := len(story.ran) - strings.Count(strings.Join(story.ran, ","), "alone")
				assert.Equal(t, story.ran[:groups], s.ran[:groups], "a group has waited for a call that runs alone")
			})
		})
	}
}

func TestARefusedGroupIsNotRunAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		locked := errors.New("database is locked")
		s := &script{verdicts: []engine.Outcome{{Verdict: engine.Refused, Err: locked}}}
		_, as := scripted(t, s, "a b c")
		for _, a := range as {
			require.Equal(t, locked, a.err)
		}
		assert.Equal(t, []string{"group a b c"}, s.ran)
	})
}

func TestAnUnknownOutcomeNeverLooksLikeABadConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{verdicts: []engine.Outcome{{Verdict: engine.Unknown, Err: fmt.Errorf("commit: %w", driver.ErrBadConn)}}}
		_, as := scripted(t, s, "a b c")
		for _, a := range as {
			var unknown *OutcomeUnknownError
			require.ErrorAs(t, a.err, &unknown)
			require.NotErrorIs(t, a.err, driver.ErrBadConn, "database/sql would run the call again")
			require.ErrorIs(t, unknown.Cause, driver.ErrBadConn)
			require.ErrorContains(t, a.err, "driver: bad connection")
		}
		assert.Equal(t, []string{"group a b c"}, s.ran)
	})
}

func TestAPanicOfTheEngineAnswersEveryCallAndTheNextGroupRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boom := errors.New("boom")
		s := &script{group: func(calls []*Call) engine.Outcome {
			calls[0].Answer(resultOf("not committed"), nil)
			panic(boom)
		}}
		db, as := scripted(t, s, "a b c")
		for _, a := range as {
			var unknown *OutcomeUnknownError
			require.ErrorAs(t, a.err, &unknown)
			require.ErrorIs(t, unknown.Cause, boom)
		}
		s.group = nil
		allOK(t, exec1(db, "d"))
		d, err := databaseOf(t.Context(), db)
		require.NoError(t, err)
		assert.True(t, d.Writer.Free(), "a turn was not given back")
	})
}

func TestACallThatPanicsPanicsInItsOwnCallerOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		db, as := scripted(t, s, "a panic ccc")
		as[0].ok(t)
		assert.Equal(t, "panic", as[1].panicked)
		as[2].ok(t)
		_, err := Go(t.Context(), db, "INSERT panic").Await(t.Context())
		var panicked *PanicError
		require.ErrorAs(t, err, &panicked)
		assert.Equal(t, "panic", panicked.Value)
		assert.Contains(t, string(panicked.Stack), "script")
	})
}

// runtime.Goexit cannot be stopped: it ends the goroutine of the leader, whose own call goes with it.
func TestACallThatEndsTheLeadersGoroutineHurtsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		commits := 0
		s.group = func(calls []*Call) engine.Outcome {
			for _, c := range calls {
				c.Try(s.run)
			}
			commits++
			return engine.Outcome{}
		}
		db, as := scripted(t, s, "leader a goexit b")
		require.Zero(t, commits)
		for _, a := range as[1:] {
			assert.False(t, a.ended && a.err == nil, "%s is told that it was committed, and it was not", a.word)
		}
		allOK(t, exec1(db, "c"))
	})
}

func TestAfterARollbackNoAnswerOfTheRolledBackAttemptIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{verdicts: []engine.Outcome{{Verdict: engine.RolledBack, Culprit: -1}}}
		_, as := scripted(t, s, "leader goexit a b")
		for _, a := range as[1:] {
			assert.False(t, a.ended && a.err == nil, "%s is told that it was committed, and it was not", a.word)
		}
		assert.Equal(t, []string{"group leader goexit a b", "alone leader", "alone goexit"}, s.ran)
	})
}
