package otel

import (
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// scope is the name of the instrumentation.
const scope = "github.com/groupcommit/groupcommit/otel"

type config struct {
	tracers   trace.TracerProvider
	meters    metric.MeterProvider
	attrs     []attribute.KeyValue
	queryText bool
}

// An Option changes what is told of a database, and to whom.
type Option func(*config)

// TracerProvider sets who gets the spans; the default, also of nil, is the global one at the time of the call.
func TracerProvider(p trace.TracerProvider) Option {
	return func(c *config) {
		if p != nil {
			c.tracers = p
		}
	}
}

// MeterProvider sets who gets the metrics; the default, also of nil, is the global one at the time of the call.
func MeterProvider(p metric.MeterProvider) Option {
	return func(c *config) {
		if p != nil {
			c.meters = p
		}
	}
}

// Attributes are added to each span and each metric: db.namespace, server.address, or what else the program knows of its database. Two
// databases of a program need attributes that tell them apart.
func Attributes(attrs ...attribute.KeyValue) Option {
	return func(c *config) { c.attrs = append(c.attrs, attrs...) }
}

// QueryText has a span show the texts of its group as db.query.text, without arguments. Values that stand in a text as literals are then
// seen, which is why the default is not to.
func QueryText() Option { return func(c *config) { c.queryText = true } }

func configOf(opts []Option) *config {
	c := &config{tracers: otel.GetTracerProvider(), meters: otel.GetMeterProvider()}
	for _, o := range opts {
		if o != nil {
			o(c)
		}
	}
	return c
}
