package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"math"
	"slices"
	"strings"
	"text/template"
)

// A plot is a picture with two axes, as a file of SVG. It has its own background and colours for light and for dark, so it can
// be read wherever it is shown; its curves have their names at their ends.
type plot struct {
	Title string // what it shows, as a sentence with the numbers
	Note  string // what was measured
	Where string // on what machine
	X, Y  scale
	all   []curve
}

// A scale is an axis. One that is logarithmic does not begin at 0.
type scale struct {
	Title    string
	log      bool
	from, to float64
	ticks    []scaleTick
}

type scaleTick struct {
	at   float64
	text string
}

// A curve goes through dots. Its kind says how it is drawn.
type curve struct {
	name string
	kind string // ours, plain, one, timer or hand; see plot.svg
	dots []dot
	free bool // dots without a line, and without a name at the end
	bare bool // a line without dots
}

type dot struct {
	x, y float64
	text string // above the dot; "": nothing
}

// at is where a value lies on the axis, from 0 to 1.
func (s scale) at(v float64) float64 {
	if s.log {
		return (math.Log(v) - math.Log(s.from)) / (math.Log(s.to) - math.Log(s.from))
	}
	return (v - s.from) / (s.to - s.from)
}

// The measures of the picture, in its own pixels.
const (
	plotWidth, plotHeight             = 760, 450
	plotLeft, plotTop, plotBottom     = 84, 110, 58
	plotLetter                        = 7.1 // the mean width of one in a name
	plotNameGap, plotDotR, plotMargin = 17, 3.5, 24
)

//go:embed plot.svg
var plotText string

var plotTemplate = template.Must(template.New("plot").Parse(plotText))

// drawn is a plot for the template: everything has its place.
type drawn struct {
	plot
	Width, Height            int
	Left, Right, Top, Bottom float64 // of the area of the curves
	XTicks, YTicks           []drawnTick
	Curves                   []drawnCurve
	TickEnd, DotR            float64
}

type drawnTick struct {
	At   float64
	Text string
}

type drawnCurve struct {
	Kind, Name, Line string
	Dots             []drawnDot
	NameX, NameY     float64
	NameAnchor       string
}

type drawnDot struct {
	X, Y   float64
	Text   string
	TextY  float64
	Anchor string
}

func (p plot) svg() ([]byte, error) {
	var b bytes.Buffer
	err := plotTemplate.Execute(&b, p.draw())
	return b.Bytes(), err
}

func (p plot) draw() drawn {
	longest := 0
	for _, c := range p.all {
		if !c.free {
			longest = max(longest, len(c.name))
		}
	}
	d := drawn{plot: p, Width: plotWidth, Height: plotHeight, Left: plotLeft, Top: plotTop, Bottom: plotHeight - plotBottom,
		TickEnd: plotHeight - plotBottom + 5, DotR: plotDotR,
		Right: plotWidth - plotMargin - float64(longest)*plotLetter}
	x := func(v float64) float64 { return round1(d.Left + p.X.at(v)*(d.Right-d.Left)) }
	y := func(v float64) float64 { return round1(d.Bottom - p.Y.at(v)*(d.Bottom-d.Top)) }
	for _, t := range p.X.ticks {
		d.XTicks = append(d.XTicks, drawnTick{x(t.at), t.text})
	}
	for _, t := range p.Y.ticks {
		d.YTicks = append(d.YTicks, drawnTick{y(t.at), t.text})
	}
	for _, c := range p.all {
		dc := drawnCurve{Kind: c.kind}
		var line []string
		for _, o := range c.dots {
			at := drawnDot{X: x(o.x), Y: y(o.y), Text: o.text, TextY: y(o.y) - 10, Anchor: "end"}
			if at.X < d.Left+90 {
				at.Anchor = "start"
			}
			line = append(line, fmt.Sprintf("%g,%g", at.X, at.Y))
			dc.Dots = append(dc.Dots, at)
		}
		if !c.free && len(dc.Dots) > 0 {
			last := dc.Dots[len(dc.Dots)-1]
			dc.Name, dc.NameX, dc.NameY, dc.NameAnchor = c.name, last.X+9, last.Y+4, "start"
			if last.X < d.Right-1 { // it ends among the others
				dc.NameX, dc.NameY, dc.NameAnchor = last.X, last.Y-10, "end"
			}
			dc.Line = strings.Join(line, " ")
		}
		if c.bare {
			dc.Dots = nil
		}
		d.Curves = append(d.Curves, dc)
	}
	d.spreadNames()
	return d
}

// spreadNames moves names apart that would lie on each other.
func (d drawn) spreadNames() {
	var named []*drawnCurve
	for i := range d.Curves {
		if d.Curves[i].NameAnchor == "start" {
			named = append(named, &d.Curves[i])
		}
	}
	slices.SortFunc(named, func(a, b *drawnCurve) int { return int(math.Copysign(1, a.NameY-b.NameY)) })
	for range named { // each pass moves neighbours by half of what is missing
		for i := 1; i < len(named); i++ {
			if gap := plotNameGap - (named[i].NameY - named[i-1].NameY); gap > 0 {
				named[i-1].NameY = max(d.Top, named[i-1].NameY-gap/2)
				named[i].NameY = named[i-1].NameY + plotNameGap
			}
		}
	}
}

func round1(x float64) float64 { return math.Round(x*10) / 10 }

// logScale has a tick at each power of ten that the values need.
func logScale(title string, values []float64, text func(float64) string) scale {
	s := scale{Title: title, log: true, from: math.Inf(1), to: 0}
	for _, v := range values {
		s.from, s.to = min(s.from, v), max(s.to, v)
	}
	s.from, s.to = math.Pow(10, math.Floor(math.Log10(s.from))), math.Pow(10, math.Ceil(math.Log10(s.to)))
	if s.from == s.to {
		s.to *= 10
	}
	for at := s.from; at <= s.to*1.001; at *= 10 {
		s.ticks = append(s.ticks, scaleTick{at, text(at)})
	}
	return s
}

// fromZero has some four ticks up to the highest value.
func fromZero(title string, most float64, text func(float64) string) scale {
	step := math.Pow(10, math.Floor(math.Log10(most)))
	for _, part := range []float64{.2, .25, .5, 1, 2} {
		if most/(step*part) <= 5 {
			step *= part
			break
		}
	}
	s := scale{Title: title, to: step * math.Ceil(most/step*1.02)}
	for at := 0.0; at <= s.to*1.001; at += step {
		s.ticks = append(s.ticks, scaleTick{at, text(at)})
	}
	return s
}
