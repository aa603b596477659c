"""OpenTelemetry traces of requests and jobs. Imported only where they are wanted: it needs the extra `danqing[otel]`.

The trace of a job has the job's own id (its UUID without dashes), so every process that has to do with the job puts its
spans into one trace, and nothing has to be carried from one to the other, nor is lost in a restart:

    submit ─┬─ queue      (a wait before each attempt)
            └─ attempt ─┬─ denoise
                        ├─ finish
                        └─ upscale

A request has a trace of its own, or its client's (`traceparent`); links lead from it to the jobs that it was answered
with, and back.
"""
