package debug

import (
	"cmp"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/groupcommit/groupcommit"
)

const (
	mostTexts = 400 // that are remembered
	keptTexts = 100 // of each of two kinds, when there are more
	textBytes = 500 // of each that are remembered
)

// texts counts calls by their text. A program may make texts without end, so it is bounded in room, and in time: when it is full, it
// drops most of them at once, so that a new text costs no search.
//
// A text is known by a hash with a secret seed, because a text may be long. Two of them that share one, by chance of one in 2^64 a
// pair, would be counted as one.
type texts struct {
	seed maphash.Seed

	mu     sync.Mutex // OnGroup takes it in turn; who reads keeps it for some microseconds
	by     map[uint64]*textStats
	others textStats // those that were dropped
}

// textStats are the numbers of one text.
type textStats struct {
	key             uint64
	text            string // its beginning
	cut             bool   // it is longer
	calls, failures int64
	took, longest   time.Duration
}

func newTexts() *texts {
	return &texts{seed: maphash.MakeSeed(), by: make(map[uint64]*textStats)}
}

// observe is a function for groupcommit.OnGroup. A call that was put off has no outcome yet: it comes once more.
func (t *texts) observe(g groupcommit.GroupInfo) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	var last string
	var s *textStats
	for i, c := range g.Calls {
		if c.IsPutOff() && g.Reason != groupcommit.PutOff {
			continue
		}
		if s == nil || c.Query != last { // the calls of a group are often of one text
			last, s = c.Query, t.of(c.Query)
		}
		s.add(now.Sub(g.Since[i]), c.Err() != nil)
	}
}

// of returns the numbers of a text.
func (t *texts) of(text string) *textStats {
	key := maphash.String(t.seed, text)
	s := t.by[key]
	if s == nil {
		if len(t.by) == mostTexts {
			t.drop()
		}
		s = &textStats{key: key}
		s.text, s.cut = beginning(text)
		t.by[key] = s
	}
	return s
}

// drop keeps the texts that have taken the most time together, and of the rest those that had the longest calls.
func (t *texts) drop() {
	all := slices.AppendSeq(make([]*textStats, 0, len(t.by)), maps.Values(t.by))
	slices.SortFunc(all, func(a, b *textStats) int { return cmp.Compare(b.took, a.took) })
	rest := all[min(keptTexts, len(all)):]
	slices.SortFunc(rest, func(a, b *textStats) int { return cmp.Compare(b.longest, a.longest) })
	for _, s := range rest[min(keptTexts, len(rest)):] {
		t.others.merge(s)
		delete(t.by, s.key)
	}
}

// slowest returns the texts of the largest means, at most n, and what was dropped.
func (t *texts) slowest(n int) (top []textStats, others textStats) {
	t.mu.Lock()
	for _, s := range t.by {
		top = append(top, *s)
	}
	others = t.others
	t.mu.Unlock()
	slices.SortFunc(top, func(a, b textStats) int {
		return cmp.Or(cmp.Compare(b.mean(), a.mean()), cmp.Compare(a.text, b.text))
	})
	return top[:min(n, len(top))], others
}

func (s *textStats) add(took time.Duration, failed bool) {
	s.calls++
	if failed {
		s.failures++
	}
	s.took += took
	s.longest = max(s.longest, took)
}

func (s *textStats) merge(o *textStats) {
	s.calls += o.calls
	s.failures += o.failures
	s.took += o.took
	s.longest = max(s.longest, o.longest)
}

func (s *textStats) mean() time.Duration { return s.took / time.Duration(max(s.calls, 1)) }

// beginning returns a copy of at most textBytes of a text, so that the rest can be freed, and whether there is more. It is valid UTF-8.
func beginning(text string) (begin string, cut bool) {
	if cut = len(text) > textBytes; cut {
		end := textBytes
		for end > textBytes-utf8.UTFMax && !utf8.RuneStart(text[end]) {
			end--
		}
		text = text[:end]
	}
	return strings.ToValidUTF8(strings.Clone(text), "\uFFFD"), cut
}
