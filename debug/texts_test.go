package debug

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/groupcommit/groupcommit"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// told is a group of calls that came some time ago.
func told(ago time.Duration, err error, queries ...string) groupcommit.GroupInfo {
	var g groupcommit.GroupInfo
	for _, q := range queries {
		c := &groupcommit.Call{Query: q}
		c.Answer(nil, err)
		g.Calls, g.Since = append(g.Calls, c), append(g.Since, time.Now().Add(-ago))
	}
	return g
}

func TestEachTextHasItsCallsFailuresMeanAndLargest(t *testing.T) {
	texts := newTexts()
	texts.observe(told(time.Second, nil, "a", "a", "b"))
	texts.observe(told(3*time.Second, errors.New("no"), "b", "a"))
	top, others := texts.slowest(10)
	require.Len(t, top, 2)
	assert.Equal(t, "b", top[0].text, "the slower one is first")
	assert.EqualValues(t, 2, top[0].calls)
	assert.EqualValues(t, 1, top[0].failures)
	assert.InDelta(t, 2, top[0].mean().Seconds(), .5)
	assert.InDelta(t, 3, top[0].longest.Seconds(), .5)
	assert.EqualValues(t, 3, top[1].calls)
	assert.InDelta(t, 5./3, top[1].mean().Seconds(), .5)
	assert.Zero(t, others)
	top, _ = texts.slowest(1)
	assert.Len(t, top, 1)
}

func TestACallThatWasPutOffCountsWhenItHasAnOutcome(t *testing.T) {
	texts := newTexts()
	g := told(time.Second, nil, "a", "b")
	g.Calls[0].PutOff()
	texts.observe(g)
	again := told(2*time.Second, nil, "a")
	again.Calls[0].PutOff() // as its group has left it
	again.Calls[0].Answer(nil, nil)
	again.Reason = groupcommit.PutOff
	texts.observe(again)
	top, _ := texts.slowest(10)
	require.Len(t, top, 2)
	for _, s := range top {
		assert.EqualValues(t, 1, s.calls, s.text)
		assert.Zero(t, s.failures)
	}
	assert.InDelta(t, 2, top[0].longest.Seconds(), .5)
}

func TestTextsWithoutEndNeedBoundedRoomAndTheOneThatTakesTheMostTimeStays(t *testing.T) {
	texts := newTexts()
	const n = 2_000
	for i := range n { // each has a slower call than the one that comes often
		texts.observe(told(time.Minute, nil, fmt.Sprint("literal ", i)))
		for range 4 {
			texts.observe(told(30*time.Second, nil, "often"))
		}
	}
	require.LessOrEqual(t, len(texts.by), mostTexts)
	top, others := texts.slowest(mostTexts)
	by := make(map[string]textStats)
	var calls int64
	for _, s := range top {
		by[s.text] = s
		calls += s.calls
	}
	assert.EqualValues(t, 4*n, by["often"].calls, "it has taken the most time together")
	assert.EqualValues(t, 5*n, calls+others.calls, "no call is lost")
	assert.NotZero(t, others.took)
}

func TestATextWithASlowCallStaysAmongMoreThatTakeMoreTimeTogether(t *testing.T) {
	texts := newTexts()
	for i := range 250 {
		for range 50 {
			texts.observe(told(time.Second, nil, fmt.Sprint("heavy ", i)))
		}
	}
	texts.observe(told(20*time.Second, nil, "slow"))
	for i := range 1000 {
		texts.observe(told(0, nil, fmt.Sprint("literal ", i)))
	}
	top, _ := texts.slowest(1)
	assert.Equal(t, "slow", top[0].text, "it has had the slowest call")
}

func TestNoMoreThanTheBeginningOfATextIsKept(t *testing.T) {
	texts := newTexts()
	long := "INSERT INTO a VALUES " + strings.Repeat("(1), ", 1000)
	texts.observe(told(0, nil, long+"(2)", long+"(3)", long+"(3)", "\xff", "short"))
	top, _ := texts.slowest(10)
	var calls []int64
	for _, s := range top {
		assert.LessOrEqual(t, len(s.text), textBytes)
		assert.True(t, utf8.ValidString(s.text))
		if s.cut {
			calls = append(calls, s.calls)
			assert.Equal(t, long[:textBytes], s.text)
		}
	}
	assert.ElementsMatch(t, []int64{1, 2}, calls, "two texts with the same beginning are two")
	text, cut := beginning(strings.Repeat("a", textBytes-1) + "é")
	assert.True(t, cut)
	assert.Equal(t, strings.Repeat("a", textBytes-1), text, "no half of a letter stays")
	_, cut = beginning(strings.Repeat("a", textBytes))
	assert.False(t, cut)
}

func TestNumbersHaveThreeDigitsAndAUnit(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 7: "7", 999: "999", 1000: "1,000", -1234567: "-1,234,567"} {
		assert.Equal(t, want, count(n))
	}
	for v, want := range map[float64]string{0: "0", 3: "3", .125: "0.12", 9.994: "9.99", 9.996: "10.0", 31.25: "31.2", 99.96: "100", 1234.5: "1,235"} {
		assert.Equal(t, want, number(v))
	}
	for d, want := range map[time.Duration]string{
		-1: "0", 0: "0", 15: "15 ns", 1500: "1.50 µs", 25 * time.Millisecond: "25 ms", 1234 * time.Millisecond: "1.23 s",
		90 * time.Second: "90 s", 5 * time.Minute: "5 min", 30 * time.Hour: "30 h",
	} {
		assert.Equal(t, want, strings.ReplaceAll(duration(d), space, " "))
	}
	assert.Equal(t, "33.3"+space+"%", share(1, 3))
	assert.Equal(t, "<0.1"+space+"%", share(1, 1_000_000))
	assert.Equal(t, "–", share(0, 0))
}

// The cost of a call, in a group of many: of one text, of several, and of texts that are always new.
func BenchmarkObserve(b *testing.B) {
	const size = 100
	group := func(text func(i int) string) groupcommit.GroupInfo {
		var g groupcommit.GroupInfo
		for i := range size {
			c := groupcommit.Call{}
			c.Make(context.Background(), text(i), nil, false)
			c.Answer(nil, nil)
			g.Calls, g.Since = append(g.Calls, &c), append(g.Since, time.Now())
		}
		return g
	}
	const text = "INSERT INTO orders (id, customer, article, placed) VALUES (?, ?, ?, julianday())"
	run := func(name string, groups ...groupcommit.GroupInfo) {
		b.Run(name, func(b *testing.B) {
			texts := newTexts()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				texts.observe(groups[i%len(groups)])
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/size, "ns/call")
		})
	}
	run("text=one", group(func(int) string { return text }))
	run("text=four", group(func(i int) string { return fmt.Sprint(text, i%4) }))
	var fresh []groupcommit.GroupInfo
	for n := range 100 {
		fresh = append(fresh, group(func(i int) string { return fmt.Sprint(text, n*size+i) }))
	}
	run("text=new", fresh...)
}
