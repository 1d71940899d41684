package main

import "fmt"

// A target is a line of GOALS.md: what a case is to reach, and what bounds it. Its zero value is of a case that is only
// measured.
type target struct {
	reach  float64
	atMost bool
	text   string // of reach, where a number does not say it
	bound  string // the most that could be, or the least; "" where nobody has worked it out
}

func atLeast(x float64, bound string) target { return target{reach: x, bound: bound} }
func atMost(x float64, bound string) target  { return target{reach: x, atMost: true, bound: bound} }

// fsyncShare is the goal beside the plain driver on a disk, as the disk has it in a run: see GOALS.md.
const fsyncShare = "0.9 of 64 · t(plain) / (t(sync) + 0.15 ms)"

func (t target) none() bool { return t.reach == 0 && t.text == "" }

// words is the goal in GOALS.md.
func (t target) words() string {
	switch {
	case t.text != "":
		return t.text
	case t.none():
		return "-"
	case t.atMost:
		return fmt.Sprintf("at most %.2f", t.reach)
	}
	return fmt.Sprintf("at least %.2f", t.reach)
}

// missed compares as the table shows it.
func (t target) missed(x float64) bool {
	switch {
	case t.none():
		return false
	case t.atMost:
		return x > t.reach+0.005
	}
	return x < t.reach-0.005
}
