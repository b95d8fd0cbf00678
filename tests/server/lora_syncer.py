"""What the Gateway API's lora-syncer sidecar does with a server, written anew from its description: it looks at what
is loaded, asks for what is missing, and has removed what is not wanted."""

import requests


class LoraSyncer:
    """`config` is its ConfigMap's vLLMLoRAConfig: host, port, defaultBaseModel, ensureExist, ensureNotExist."""

    def __init__(self, config):
        self.config = config
        self.base = f"http://{config['host']}:{config['port']}"

    def healthy(self):
        try:
            return requests.get(f"{self.base}/health", timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    def registered(self):
        answer = requests.get(f"{self.base}/v1/models", timeout=5)
        answer.raise_for_status()
        return {model["id"] for model in answer.json()["data"]}

    def post(self, path, body):
        """What went wrong, or nothing."""
        answer = requests.post(f"{self.base}/v1/{path}", json=body, headers={"Content-Type": "application/json"}, timeout=60)
        return [f"{path} {body['lora_name']}: {answer.status_code} {answer.text}"] if answer.status_code >= 400 else []

    def wanted(self, section):
        return {model["id"]: model for model in self.config.get(section, {}).get("models", [])}

    def reconcile(self):
        """One round; returns the problems, which the next round tries again."""
        if not self.healthy():
            return ["the server is not healthy"]
        there, problems = self.registered(), []
        unwanted = self.wanted("ensureNotExist")
        for name, model in self.wanted("ensureExist").items():
            if name in there or name in unwanted:
                continue
            base = model.get("base-model") or self.config.get("defaultBaseModel")
            body = {"lora_name": name, "lora_path": model["source"], "base_model_name": base}
            problems += self.post("load_lora_adapter", body)
        for name in unwanted:
            if name in there:
                problems += self.post("unload_lora_adapter", {"lora_name": name})
        return problems
