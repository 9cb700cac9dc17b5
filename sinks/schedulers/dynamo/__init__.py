"""NVIDIA Dynamo: a worker gets no requests while its instance records are not in the discovery.

The keys are Dynamo's own, not a published interface. Tried with ai-dynamo 1.6.1 and etcd 3.4.23.
"""
