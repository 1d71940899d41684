package debug

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// space does not break: a number stays with its unit.
const space = "\u00a0"

// count writes a whole number with commas between its thousands.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	var b strings.Builder
	for i := range len(s) {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteByte(s[i])
	}
	return sign + b.String()
}

// number writes three digits of a number, or all that are before the point. A whole number has no point.
func number(v float64) string {
	places := 0
	switch a := math.Abs(v); {
	case a == math.Trunc(a):
	case a < 9.995:
		places = 2
	case a < 99.95:
		places = 1
	}
	if places == 0 {
		return count(int64(math.Round(v)))
	}
	return strconv.FormatFloat(v, 'f', places, 64)
}

// duration writes a time in the unit that suits it.
func duration(d time.Duration) string {
	if d <= 0 {
		return "0"
	}
	for _, u := range units {
		if d < u.below {
			return number(float64(d)/float64(u.of)) + space + u.name
		}
	}
	return number(d.Hours()) + space + "h"
}

var units = []struct {
	below time.Duration
	name  string
	of    time.Duration
}{
	{time.Microsecond, "ns", time.Nanosecond},
	{time.Millisecond, "µs", time.Microsecond},
	{time.Second, "ms", time.Millisecond},
	{2 * time.Minute, "s", time.Second},
	{2 * time.Hour, "min", time.Minute},
}

// share writes a part of a whole as a percentage.
func share(part, whole int64) string {
	if whole == 0 {
		return "–"
	}
	p := 100 * float64(part) / float64(whole)
	if p > 0 && p < .1 {
		return "<0.1" + space + "%"
	}
	return strconv.FormatFloat(p, 'f', 1, 64) + space + "%"
}
