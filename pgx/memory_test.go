package pgx

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var someTime = time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)

func (m *memory) way(query string) road {
	r, _ := m.road(query, someTime)
	return r
}

func TestATextThatKeepsFailingGoesItsOwnWayAndComesBack(t *testing.T) {
	m := newMemory()
	for range 100 {
		m.ran("bad", 3, 0)
		m.ran("bad", 1, 1)
		m.ran("good", 4, 0)
	}
	require.Equal(t, roadPipeline, m.way("bad"))
	require.Equal(t, roadGroup, m.way("good"))
	m.ran("bad", 1000, 0)
	require.Equal(t, roadGroup, m.way("bad"))
}

func TestASeldomFailureChangesNothing(t *testing.T) {
	m := newMemory()
	for range 100 {
		m.ran("x", 99, 0)
		m.ran("x", 1, 1)
		require.Equal(t, roadGroup, m.way("x"))
	}
}

func TestAFewFailuresOfANewTextChangeNothing(t *testing.T) {
	m := newMemory()
	m.ran("x", 5, 5)
	require.Equal(t, roadGroup, m.way("x"))
}

// take notes a text's time as often as it is asked for in so many calls.
func (m *memory) take(query string, calls int, d time.Duration, at time.Time) {
	for range calls {
		if _, sample := m.road(query, at); sample {
			m.took(query, d, at)
		}
	}
}

func TestASlowTextRunsByItselfForAWhile(t *testing.T) {
	m := newMemory()
	m.take("fast", 100, 50*time.Microsecond, someTime)
	m.take("slow", 100, 30*time.Millisecond, someTime)
	require.Equal(t, roadAlone, m.way("slow"))
	require.Equal(t, roadGroup, m.way("fast"))
	later := someTime.Add(slowFor)
	way, sample := m.road("slow", later)
	require.Equal(t, roadGroup, way, "it is tried again")
	require.True(t, sample)
	m.took("slow", 30*time.Millisecond, later)
	way, _ = m.road("slow", later)
	require.Equal(t, roadAlone, way, "once is enough")

	later = later.Add(slowFor)
	_, sample = m.road("slow", later)
	require.True(t, sample)
	m.took("slow", 50*time.Microsecond, later)
	for range 100 {
		way, _ = m.road("slow", later)
		require.Equal(t, roadGroup, way, "it has got better")
	}
}

func TestOneStallMakesNoTextSlow(t *testing.T) {
	m := newMemory()
	m.take("x", 100, 50*time.Microsecond, someTime)
	m.take("y", 1, 50*time.Microsecond, someTime)
	m.took("x", time.Second, someTime)
	m.took("y", time.Second, someTime)
	require.Equal(t, roadGroup, m.way("x"))
	require.Equal(t, roadGroup, m.way("y"))
}

func TestWhereEveryTextTakesLongNoneIsSlow(t *testing.T) {
	m := newMemory()
	m.take("x", 100, 30*time.Millisecond, someTime)
	m.take("y", 100, 60*time.Millisecond, someTime)
	require.Equal(t, roadGroup, m.way("x"))
	require.Equal(t, roadGroup, m.way("y"))
}

func TestTheMemoryIsBounded(t *testing.T) {
	m := newMemory()
	for i := range 3 * maxExperiences {
		m.ran(time.Duration(i).String(), 1, 1)
	}
	require.Equal(t, maxExperiences, m.texts.Len())
}
