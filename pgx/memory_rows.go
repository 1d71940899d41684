package pgx

import "slices"

// The rows of a text: whether it has few is to be known before its group sends COMMIT.

// enoughFew is how many results in a row with no more rows than a group keeps say that the next one will have no more, either.
const enoughFew = 3

// mayBeLarge reports that a request may have more rows than a group keeps.
func mayBeLarge(requests []request) bool {
	return slices.ContainsFunc(requests, func(r request) bool { return r.call.WantsRows() && !r.route.few })
}

// gave notes how many rows requests had that have been executed, as far as that is news.
func (m *memory) gave(requests []request) {
	for _, r := range requests {
		large := r.call.IsLarge()
		if !r.call.WantsRows() || !large && (r.route.few || r.call.Err() != nil) {
			continue
		}
		m.mu.Lock()
		if e := m.of(r.query); large {
			e.few = 0
		} else {
			e.few++
		}
		m.mu.Unlock()
	}
}
