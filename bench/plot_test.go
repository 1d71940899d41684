package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// wellFormed parses XML and counts its elements by their names.
func wellFormed(t *testing.T, text []byte) map[string]int {
	elements := map[string]int{}
	d := xml.NewDecoder(bytes.NewReader(text))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return elements
		}
		require.NoError(t, err, "%s", text)
		if e, ok := token.(xml.StartElement); ok {
			elements[e.Name.Local]++
		}
	}
}

var samplePlot = plot{
	Title: `A <title> & "more"`, Note: "a note", Where: "a machine",
	X: scale{Title: "x", log: true, from: 1, to: 100, ticks: []scaleTick{{1, "1"}, {10, "10"}, {100, "100"}}},
	Y: fromZero("y", 95, brief),
	all: []curve{
		{name: "one & two", kind: "ours", dots: []dot{{x: 1, y: 10}, {x: 100, y: 50}}},
		{name: "near", kind: "plain", dots: []dot{{x: 1, y: 20}, {x: 100, y: 50}}},
		{kind: "plain", free: true, dots: []dot{{x: 10, y: 20, text: "here"}}},
	},
}

func TestAPictureIsXMLWithItsCurvesNamesAndColoursForBoth(t *testing.T) {
	text, err := samplePlot.svg()
	require.NoError(t, err)
	elements := wellFormed(t, text)
	assert.Equal(t, 2, elements["polyline"])
	assert.Equal(t, 5, elements["circle"])
	for _, want := range []string{"prefers-color-scheme: dark", "A &lt;title&gt; &amp;", ">one &amp; two<", ">here<", ">a note<", ">a machine<", `role="img"`} {
		assert.Contains(t, string(text), want)
	}
	assert.NotContains(t, strings.ReplaceAll(string(text), `xmlns="http://www.w3.org/2000/svg"`, ""), "http", "it needs no network")
	for _, m := range regexp.MustCompile(` (?:x|y|cx|cy|x1|x2|y1|y2)="([^"]*)"`).FindAllStringSubmatch(string(text), -1) {
		v, err := strconv.ParseFloat(m[1], 64)
		require.NoError(t, err, m[0])
		assert.True(t, v >= 0 && v <= plotWidth, m[0])
	}
}

func TestNamesOfCurvesDoNotLieOnEachOther(t *testing.T) {
	d := samplePlot.draw()
	apart := d.Curves[0].NameY - d.Curves[1].NameY
	assert.GreaterOrEqual(t, apart*apart, float64(plotNameGap*plotNameGap))
}

func TestScalesHoldTheirValues(t *testing.T) {
	s := logScale("", []float64{3, 4500}, counted)
	assert.Equal(t, []scaleTick{{1, "1"}, {10, "10"}, {100, "100"}, {1000, "1,000"}, {10_000, "10,000"}}, s.ticks)
	assert.InDelta(t, .5, s.at(100), 1e-9)
	s = logScale("", []float64{10, 10}, counted)
	assert.Less(t, s.from, s.to)
	for _, most := range []float64{.3, 1, 7, 95, 100, 1.42e6} {
		s := fromZero("", most, brief)
		assert.Greater(t, s.to, most)
		assert.LessOrEqual(t, s.to, 1.5*most)
		assert.True(t, len(s.ticks) >= 3 && len(s.ticks) <= 8, "%v", s.ticks)
	}
}

func TestTimesInPicturesAreBrief(t *testing.T) {
	for want, us := range map[string]float64{"0": 0, "50 µs": 50, "1.24 ms": 1240, "423 ms": 423_100, "1.5 s": 1.5e6} {
		assert.Equal(t, want, brief(us))
	}
}
