"""From a model file to a proven TensorRT engine; needs tensorrt, and neither torch nor onnx.

`plan` decides, `build` does, `proof` compares; `worker` does all of it in a process of its own, and
`process` starts that one and waits.
"""
