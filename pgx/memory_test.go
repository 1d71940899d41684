package pgx

import (
	"strconv"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/stretchr/testify/require"
)

var someTime = time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)

func (m *memory) apartAt(query string, now time.Time) bool {
	return m.wayAt(query, now) == engine.Apart
}

// roadOf is the road of a text's next call that is in a group.
func (m *memory) roadOf(query string) road { return m.roadAt(query, someTime) }

func (m *memory) roadAt(query string, now time.Time) road {
	return m.routes(nil, []*engine.Call{{Query: query}}, now)[0].route.road
}

// tries asks so many calls of a text whether they are apart, and returns how many may go into the queue.
func (m *memory) tries(query string, calls int, now time.Time) (queued int) {
	for range calls {
		if !m.apartAt(query, now) {
			queued++
		}
	}
	return queued
}

// learned is a memory of a database where a group pays 2 ms once.
func learned() *memory {
	m := newMemory()
	m.paid(2 * time.Millisecond)
	return m
}

func (m *memory) sample(query string, now time.Time, each ...time.Duration) (apart bool) {
	for _, d := range each {
		apart = m.took(query, d, now)
	}
	return apart
}

const short, slow = 50 * time.Microsecond, 20 * time.Millisecond

func TestATextThatKeepsFailingGoesItsOwnWayAndComesBack(t *testing.T) {
	m := newMemory()
	for range 100 {
		m.ran("bad", 3, 0)
		m.ran("bad", 1, 1)
		m.ran("good", 4, 0)
	}
	require.Equal(t, roadPipeline, m.roadOf("bad"))
	require.Equal(t, roadGroup, m.roadOf("good"))
	m.ran("bad", 1000, 0)
	require.Equal(t, roadGroup, m.roadOf("bad"))
}

func TestASeldomFailureChangesNothing(t *testing.T) {
	m := newMemory()
	for range 100 {
		m.ran("x", 99, 0)
		m.ran("x", 1, 1)
		require.Equal(t, roadGroup, m.roadOf("x"))
	}
}

func TestAFewFailuresOfANewTextChangeNothing(t *testing.T) {
	m := newMemory()
	m.ran("x", 5, 5)
	require.Equal(t, roadGroup, m.roadOf("x"))
}

func TestWhichSamplesMakeATextApart(t *testing.T) {
	stall := 100 * time.Millisecond
	for name, c := range map[string]struct {
		once    time.Duration
		samples []time.Duration
		apart   bool
	}{
		"short":                           {2 * time.Millisecond, []time.Duration{short, short, short, short}, false},
		"slow":                            {2 * time.Millisecond, []time.Duration{slow, slow, slow}, true},
		"short and then slow":             {2 * time.Millisecond, []time.Duration{short, short, short, slow, slow, slow}, true},
		"two stalls of the machine":       {2 * time.Millisecond, []time.Duration{short, stall, stall, short, stall, stall}, false},
		"dearer than what a group saves":  {2 * time.Millisecond, []time.Duration{3e6, 3e6, 3e6}, true},
		"cheaper than what a group saves": {5 * time.Millisecond, []time.Duration{3e6, 3e6, 3e6}, false},
		"a loaded server, where a group pays more, too": {30 * time.Millisecond, []time.Duration{slow, slow, slow}, false},
		"no disk to wait for":                           {100 * time.Microsecond, []time.Duration{3e5, 3e5, 3e5, 3e5}, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory()
			m.paid(c.once)
			require.Equal(t, c.apart, m.sample("x", someTime, c.samples...))
			for range 2 * trialCalls * trialShare { // or the next one would be on trial
				require.Equal(t, c.apart, m.isApart("x"))
			}
			require.Equal(t, c.apart, m.apartAt("x", someTime))
			require.Equal(t, c.apart, m.roadOf("x") == roadAlone, "one that is queued already")
			m.sample("y", someTime, short)
			require.False(t, m.apartAt("y", someTime), "another text")
		})
	}
}

func TestATextThatIsApartIsTriedAgainWithFewCallsAndEverSeldomer(t *testing.T) {
	m, now := learned(), someTime
	m.sample("x", now, slow, slow, slow)
	const rate = 3000 // calls a second
	var queued int
	for range 20 * rate {
		now = now.Add(time.Second / rate)
		if m.apartAt("x", now) {
			continue
		}
		queued++
		if m.roadAt("x", now) == roadGroup {
			m.sample("x", now, slow)
		}
	}
	require.Greater(t, queued, 3*15, "tried each second")
	require.Less(t, queued, 20*rate/trialShare, "but not more than one call in two hundred")
	require.Less(t, queued, 3*23)
}

func TestATrialIsSeldomWhereCallsAre(t *testing.T) {
	m := learned()
	m.sample("x", someTime, slow, slow, slow)
	require.Zero(t, m.tries("x", trialCalls*trialShare-1, someTime.Add(time.Hour)))
	require.Equal(t, trialCalls, m.tries("x", trialCalls*trialShare-1, someTime.Add(time.Hour)))
}

func TestATextThatHasBecomeShortIsGroupedAgainAndViceVersaWithinTwoSeconds(t *testing.T) {
	m, now := learned(), someTime
	for _, cost := range []time.Duration{short, slow, short, slow, short} {
		until := now.Add(2 * time.Second)
		for ; now.Before(until); now = now.Add(time.Millisecond) {
			if !m.apartAt("x", now) && m.roadAt("x", now) != roadAlone {
				m.took("x", cost, now)
			}
		}
		require.Equal(t, cost == slow, m.apartAt("x", now), "after %v", now.Sub(someTime))
	}
}

// On a loaded server each call by itself takes long, and only the gaps of a trial's group tell that the text is short.
func TestTheGapsOfATrialBringATextBackWhateverItsLoneCallsTake(t *testing.T) {
	m := learned()
	m.sample("x", someTime, slow, slow, slow)
	later := someTime.Add(time.Second)
	require.Equal(t, trialCalls, m.tries("x", 2*trialCalls*trialShare-1, later))
	m.trial(t, "x", later, short, short)
	require.True(t, m.isApart("x"), "one trial may be by chance")
	for range 2 {
		require.Equal(t, trialCalls, m.tries("x", 2*trialCalls, later), "the next one follows at once")
		m.trial(t, "x", later, short, short)
	}
	require.False(t, m.isApart("x"))
}

// trial is the group of a trial that has been let in.
func (m *memory) trial(t *testing.T, query string, now time.Time, each ...time.Duration) {
	for _, d := range each {
		require.Equal(t, roadGroup, m.roadAt(query, now))
		m.sample(query, now, d)
	}
}

// Groups that had begun when their text was found slow may be read late, too.
func TestAGroupThatHadBegunBringsNoTextBack(t *testing.T) {
	m := learned()
	m.sample("x", someTime, slow, slow, slow)
	for range 100 {
		require.True(t, m.sample("x", someTime, 0))
	}
}

// A client that is busy reads the answers of a group late, and all at once.
func TestATrialWhoseAnswersCameTogetherBringsNoTextBack(t *testing.T) {
	m, now := learned(), someTime
	m.sample("x", now, slow, slow, slow)
	trials := 0
	for now.Before(someTime.Add(time.Minute)) {
		now = now.Add(time.Millisecond)
		if m.tries("x", 1, now) == 0 {
			continue
		}
		require.Equal(t, trialSamples, m.tries("x", 2*trialCalls, now))
		if trials++; trials%3 == 0 {
			m.trial(t, "x", now, slow, slow)
		} else {
			m.trial(t, "x", now, 0, 0)
		}
		require.True(t, m.isApart("x"))
	}
	require.Greater(t, trials, 100)
}

// Where only the first answer is read late, the second comes with it.
func TestATrialThatDoesNotFindTheTextShortIsNotRepeatedAtOnce(t *testing.T) {
	m, now := learned(), someTime
	m.sample("x", now, slow, slow, slow)
	trials := 0
	for now.Before(someTime.Add(time.Minute)) {
		if now = now.Add(time.Millisecond); m.tries("x", 1, now) == 1 {
			require.Equal(t, trialSamples, m.tries("x", trialSamples, now))
			m.trial(t, "x", now, slow, 0)
			trials++
		}
	}
	require.LessOrEqual(t, trials, 62)
}

func TestWhereEveryTextIsNewTheyAreLearnedTogether(t *testing.T) {
	m, now, n := learned(), someTime, 0
	text := func() string { n++; return "SELECT 1 /* " + strconv.Itoa(n) + " */" }
	for range 3 {
		m.sample(text(), now, slow)
	}
	require.True(t, m.apartAt(text(), now))
	m.sample("known", now, short)
	require.False(t, m.apartAt("known", now))

	now = now.Add(time.Second)
	queued := 0
	for range 2 * trialCalls * trialShare {
		if q := text(); !m.apartAt(q, now) {
			queued++
			require.Equal(t, roadGroup, m.roadAt(q, now))
			m.sample(q, now, short)
		}
	}
	require.Greater(t, queued, trialCalls, "and found short again")
	require.False(t, m.apartAt(text(), now))
}

func TestOneSlowTextMakesNoOtherNewOneSlow(t *testing.T) {
	m := learned()
	m.sample("x", someTime, slow, slow, slow, slow, slow)
	require.False(t, m.apartAt("new", someTime))
}

func TestALockConflictMovesATextToThePipelineForEverLongerTimes(t *testing.T) {
	m, now := learned(), someTime
	for rest := pauseFirst; rest < restMost; rest *= 2 {
		m.waited("x", false, time.Second, now)
		require.Equal(t, roadPipeline, m.roadAt("x", now.Add(rest-1)))
		now = now.Add(rest)
		require.Equal(t, roadGroup, m.roadAt("x", now))
	}
	m.waited("x", false, time.Second, now.Add(3*restMost))
	require.Equal(t, roadGroup, m.roadAt("x", now.Add(3*restMost+pauseFirst)), "it had been well for long")
}

func TestATextIsTriedInATransactionAndInAPipelineWithGrowingNumbers(t *testing.T) {
	m := learned()
	m.waited("x", false, time.Second, someTime)
	now := someTime.Add(pauseFirst)
	calls := make([]*engine.Call, 100)
	for i := range calls {
		calls[i] = &engine.Call{Query: "x"}
	}
	for _, want := range []int{1, 2, 4, 8} {
		requests := m.routes(nil, calls, now)
		together := 0
		for _, r := range requests {
			if r.route.road == roadGroup {
				together++
			}
		}
		require.Equal(t, want, together)
		require.Equal(t, want, m.window(requests))
		m.passed(requests, true)
		m.passed(requests, false)
	}
}

func TestATextThatWaitsInThePipelineForTooLongIsApartAndComesBackToThePipeline(t *testing.T) {
	m, now := learned(), someTime
	m.waited("x", false, 100*time.Millisecond, now)
	for range mostWaits {
		require.False(t, m.leaves("x"))
		m.waited("x", true, 100*time.Millisecond, now)
	}
	require.True(t, m.leaves("x"), "those that are left of this group")
	require.False(t, m.apartAt("x", now))
	now = now.Add(100 * time.Millisecond)
	m.waited("x", true, 100*time.Millisecond, now)
	require.True(t, m.apartAt("x", now))

	now = now.Add(time.Second)
	require.Equal(t, trialCalls, m.tries("x", 2*trialCalls*trialShare-1, now))
	require.Equal(t, roadPipeline, m.roadAt("x", now))
	m.sample("x", now, short, short)
	for range 2 {
		require.Equal(t, trialCalls, m.tries("x", trialCalls, now))
		m.sample("x", now, short, short)
	}
	require.False(t, m.isApart("x"))
	require.Equal(t, roadPipeline, m.roadAt("x", now))
}

func TestTheMemoryIsBoundedAndForgetsWhatIsApart(t *testing.T) {
	m := learned()
	m.sample("slow", someTime, slow, slow, slow)
	require.EqualValues(t, 1, m.aparts.Load())
	for i := range 3 * maxExperiences {
		m.ran(strconv.Itoa(i), 1, 1)
	}
	require.Equal(t, maxExperiences, m.texts.Len())
	require.Zero(t, m.aparts.Load())
}
