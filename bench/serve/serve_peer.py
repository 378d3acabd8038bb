"""A peer of dcam serve, as people usually build one: FastAPI behind uvicorn, the model as `dcam export --to onnx` writes it
in ONNX Runtime or OpenVINO. POST /infer with 256 x 256 x 3 bytes of RGB answers {"score": x}. Run by measure.py."""
import os
import threading

import numpy
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool

RUNTIME, MODEL, THREADS = os.environ["PEER_RUNTIME"], os.environ["PEER_MODEL"], int(os.environ["PEER_THREADS"])
MEAN = numpy.array([0.485, 0.456, 0.406], numpy.float32)[:, None, None]
DEVIATION = numpy.array([0.229, 0.224, 0.225], numpy.float32)[:, None, None]

if RUNTIME == "onnxruntime":
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])

    names = [o.name for o in session.get_outputs()]

    def run(x):
        return session.run(None, {session.get_inputs()[0].name: x})[names.index("score")]
else:
    import openvino

    core = openvino.Core()
    compiled = core.compile_model(MODEL, "CPU", {"INFERENCE_NUM_THREADS": THREADS, "PERFORMANCE_HINT": "THROUGHPUT",
                                                 "INFERENCE_PRECISION_HINT": os.environ["PEER_PRECISION"]})

    # A request of OpenVINO's serves one thread at a time.
    own = threading.local()

    def run(x):
        if not hasattr(own, "request"):
            own.request = compiled.create_infer_request()
        return own.request.infer(x)["score"]

app = FastAPI()


@app.get("/ready")
def ready():
    return {"ready": True}


# The network on a thread of its own, so that other requests are read meanwhile.
@app.post("/infer")
async def infer(request: Request):
    body = await request.body()

    def work():
        rgb = numpy.frombuffer(body, numpy.uint8).reshape(256, 256, 3)
        x = (rgb.transpose(2, 0, 1).astype(numpy.float32) / 255 - MEAN) / DEVIATION
        return float(run(x[None].astype(numpy.float32)).reshape(-1)[0])

    return {"score": await run_in_threadpool(work)}
