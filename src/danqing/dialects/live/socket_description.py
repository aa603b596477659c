"""What the OpenAPI page says of the WebSocket, which OpenAPI itself has no words for."""

SOCKET_DESCRIPTION = """\
Connect with a WebSocket: `ws://host/api/ws?client_id=my-client-001`. `client_id` is optional; with it, what was asked \
for is told again after a reconnect. Every message is a JSON object in a text frame.

| the client sends | fields |
|---|---|
| `create_job` | `task_type` ("text_to_image"), `params` (`prompt`; `width`, `height`, `steps`, `guidance_scale`, \
`seed`, `model_type`), `request_id`, `previews` |
| `get_status` | `job_id`, `request_id` |
| `cancel_job` | `job_id`, `request_id` |
| `get_client_jobs` | `request_id` |

| the server sends | fields |
|---|---|
| `job_status` | `job_id`, `status` (pending, processing, generated, completed, failed, cancelled), `result`, `error`, \
`request_id` |
| `job_progress` | `job_id`, `progress` (`stage`, `percentage`, `current_step`, `total_steps`, `elapsed`, `remaining`, \
`speed`, `type`), `preview` |
| `client_jobs` | `jobs`, `request_id` |
| `error` | `message`, `request_id` |
"""
