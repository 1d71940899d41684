package main

import (
	"bufio"
	"fmt"
	"io"
	"sync"

	"github.com/groupcommit/groupcommit"
)

// lines writes the article's lines, for --verbose.
type lines struct {
	mu sync.Mutex
	w  *bufio.Writer
}

func newLines(w io.Writer) *lines { return &lines{w: bufio.NewWriter(w)} }

func (l *lines) value(v int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.w, "Value %d has been inserted\n", v)
}

// span writes the line of a transaction with n values. Goroutines overtake each other between taking a value and inserting
// it. So the transaction may lack values from its range; the line then says how many it has.
func (l *lines) span(n, first, last int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.w, "Values from %d to %d have been inserted", first, last)
	if of := last - first + 1; n < of {
		fmt.Fprintf(l.w, ": %d of these %d", n, of)
	}
	fmt.Fprintln(l.w)
}

// group writes one group's line.
func (l *lines) group(g groupcommit.GroupInfo) {
	n, from, to := 0, 0, 0
	for _, c := range g.Calls {
		if c.Err() != nil || len(c.Args) == 0 {
			continue
		}
		v := int(c.Args[0].Value.(int64))
		if n == 0 {
			from, to = v, v
		}
		n++
		from, to = min(from, v), max(to, v)
	}
	if n > 0 {
		l.span(n, from, to)
	}
}

func (l *lines) flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Flush()
}
